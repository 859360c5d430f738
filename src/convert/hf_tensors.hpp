// SPDX-License-Identifier: Apache-2.0
#pragma once
// The registry beside the tensors of a Hugging Face directory: which foreign tensors make one of ours, and what is there beside.
#include <string>
#include <utility>
#include <vector>

#include "arch/registry.hpp"
#include "checkpoint/checkpoint.hpp"
#include "convert/hf_files.hpp"

namespace convert {

// Foreign names of a registry tensor: one, or one for each expert.
std::vector<std::string> hf_names(const arch::TensorSpec &spec);
// The shape of each of them: the tensor's, without the dim of experts.
std::vector<arch::Index> hf_shape(const arch::TensorSpec &spec);
// Names of the copies of embedding and head that an MTP module carries in these files.
std::pair<std::string, std::string> hf_mtp_copies(const arch::Dims &dims, arch::Index depth);

// Sections of a checkpoint whose tensors are read from the files when they are written.
//   weights     every tensor of the registry, FP32
//   fp8_scales  factors of the tensors that came as FP8, [experts,] rows / 128, columns / 128: an FP8 export gives the same bytes
//   mtp_copies  embedding and head of MTP modules that differ from the main ones
// Errors E143: a table of all tensors that are missing, of other shapes or types, or not known. without_mtp: tensors of the layers
// behind the main model are passed over.
std::vector<checkpoint::Section> sections_of(const HfFiles &files, const arch::Dims &dims,
                                             bool without_mtp);

inline constexpr const char *kScalesSection = "fp8_scales";
inline constexpr const char *kCopiesSection = "mtp_copies";

} // namespace convert
