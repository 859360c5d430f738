# SPDX-License-Identifier: Apache-2.0
# cmake --install: the program, the rooms as targets hadal::<room>, their headers below include/hadal, and HadalConfig.cmake.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(config_folder ${CMAKE_INSTALL_LIBDIR}/cmake/Hadal)

set_target_properties(hadal_flags PROPERTIES EXPORT_NAME flags)
set(targets hadal_flags)
foreach(room ${HADAL_ROOMS})
  list(APPEND targets hadal_${room})
endforeach()
install(TARGETS ${targets} EXPORT HadalTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT HadalTargets NAMESPACE hadal:: DESTINATION ${config_folder})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/src/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/hadal FILES_MATCHING PATTERN "*.hpp")
if(TARGET hadal)
  # The run path keeps the folder of OpenBLAS (dependencies.cmake says why).
  set_target_properties(hadal PROPERTIES INSTALL_RPATH_USE_LINK_PATH ON)
  install(TARGETS hadal RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/HadalConfig.cmake.in ${PROJECT_BINARY_DIR}/HadalConfig.cmake
  INSTALL_DESTINATION ${config_folder})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/HadalConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/HadalConfig.cmake ${PROJECT_BINARY_DIR}/HadalConfigVersion.cmake
  ${CMAKE_CURRENT_LIST_DIR}/dependencies.cmake DESTINATION ${config_folder})
