#pragma once
inline int size() { return 1; }
