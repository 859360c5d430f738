// SPDX-License-Identifier: Apache-2.0
// hadal convert from-hf|to-hf|to-gguf: models come from other programs and go to them (docs/interop.md).
#include <memory>

#include <CLI/CLI.hpp>

#include "app/commands/commands.hpp"
#include "convert/from_hf.hpp"
#include "convert/to_gguf.hpp"
#include "convert/to_hf.hpp"

namespace app {
namespace {

void add_from_hf(CLI::App &convert, Action &action) {
  CLI::App *command =
      convert.add_subcommand("from-hf", "a Hugging Face directory becomes a checkpoint");
  auto o = std::make_shared<convert::FromHf>();
  command->add_option("DIRECTORY", o->directory, "config.json, safetensors, tokenizer.json")
      ->required();
  command->add_option("--out", o->out, "a new folder")->required();
  command->add_flag("--without-mtp", o->without_mtp, "leave multi-token prediction modules out");
  command->callback([o, &action] {
    action = [o] {
      convert::from_hf(*o);
      return 0;
    };
  });
}

void add_to_hf(CLI::App &convert, Action &action) {
  CLI::App *command =
      convert.add_subcommand("to-hf", "a checkpoint becomes a Hugging Face directory");
  auto o = std::make_shared<convert::ToHf>();
  command->add_option("CHECKPOINT", o->checkpoint, "a step directory, or a run's (its newest)")
      ->required();
  command->add_option("--out", o->out, "a new folder")->required();
  static const std::map<std::string, convert::HfType> types = {{"f32", convert::HfType::f32},
                                                               {"bf16", convert::HfType::bf16},
                                                               {"fp8", convert::HfType::fp8}};
  command
      ->add_option("--dtype", o->type,
                   "bf16; f32; fp8: E4M3 with a scale for each block of 128 x 128, as published")
      ->transform(CLI::CheckedTransformer(types))
      ->default_str("bf16");
  command->add_option("--shard-size", o->shard_bytes, "bytes of a shard at most: 5GB, 500MB, ...")
      ->transform(CLI::AsSizeValue(true))
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 50))
      ->default_str("5GB");
  command->add_option("--section", o->section, "weights, or average (the running average)")
      ->check(CLI::IsMember({"weights", "average"}))
      ->capture_default_str();
  command->callback([o, &action] {
    action = [o] {
      convert::to_hf(*o);
      return 0;
    };
  });
}

void add_to_gguf(CLI::App &convert, Action &action) {
  CLI::App *command =
      convert.add_subcommand("to-gguf", "a checkpoint becomes a file for llama.cpp");
  auto o = std::make_shared<convert::ToGguf>();
  command->add_option("CHECKPOINT", o->checkpoint, "a step directory, or a run's (its newest)")
      ->required();
  command->add_option("--out", o->out, "a new file")->required();
  static const std::map<std::string, convert::GgufType> types = {{"f32", convert::GgufType::f32},
                                                                 {"bf16", convert::GgufType::bf16},
                                                                 {"f16", convert::GgufType::f16},
                                                                 {"q8_0", convert::GgufType::q8_0}};
  command->add_option("--type", o->type, "type of the matrices")
      ->transform(CLI::CheckedTransformer(types))
      ->default_str("bf16");
  command->add_option("--section", o->section, "weights, or average (the running average)")
      ->check(CLI::IsMember({"weights", "average"}))
      ->capture_default_str();
  command->callback([o, &action] {
    action = [o] {
      convert::to_gguf(*o);
      return 0;
    };
  });
}

} // namespace

void add_convert(CLI::App &program, Action &action) {
  CLI::App *command =
      program.add_subcommand("convert", "checkpoints from and to other programs' formats");
  command->require_subcommand(1);
  add_from_hf(*command, action);
  add_to_hf(*command, action);
  add_to_gguf(*command, action);
}

} // namespace app
