hadal_room(base hadal_arch)
hadal_room(arch hadal_base)
