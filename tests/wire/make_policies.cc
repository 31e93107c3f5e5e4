// Writes policy images for the wire tests: make_policies FOLDER COUNT gives FOLDER/1.image to
// COUNT.image, by which a message is scanned for 1,000 octets. Images 1, 11, 21, ... bring
// databases of their own; the others leave them out.
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "control/publish/image.h"

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  const std::filesystem::path folder = argv[1];
  const auto count = static_cast<std::uint32_t>(std::strtoul(argv[2], nullptr, 10));
  std::shared_ptr<const sluice::control::CompiledRules> rules;
  for (std::uint32_t epoch = 1; epoch <= count; ++epoch) {
    const bool own = epoch % 10 == 1;
    if (own) {
      const std::filesystem::path path = folder / "test.rules";
      std::ofstream out(path);
      for (std::uint32_t i = 0; i < 50; ++i) {
        out << "alert smtp any any -> any any (msg:\"m\"; content:\"word" << epoch * 1000 + i
            << "\"; sid:" << 1 + i << ";)\n";
      }
      out.close();
      auto compiled = sluice::control::compile_rules({path});
      if (!compiled || (*compiled)->refused != 0) {
        std::fprintf(stderr, "%s\n", compiled ? "refused rules" : compiled.error().c_str());
        return 1;
      }
      rules = *compiled;
    }
    sluice::control::PolicySpec spec;
    spec.epoch = epoch;
    spec.wires = {{"w1", sluice::policy::Mode::monitor}};
    spec.scan_budget = 1000;
    spec.groups.resize(1);
    spec.groups[0].group.name = "default";
    auto image = sluice::control::build_image(spec, *rules, own);
    if (!image) {
      std::fprintf(stderr, "%s\n", image.error().c_str());
      return 1;
    }
    std::ofstream out(folder / (std::to_string(epoch) + ".image"), std::ios::binary);
    out.write(reinterpret_cast<const char*>(image->data()),
              static_cast<std::streamsize>(image->size()));
    if (!out) return 1;
  }
  return 0;
}
