// Runs a fuzz target over files, without libFuzzer: with GCC and its sanitizers the corpus is a
// regression test. Arguments are files or directories (searched to their bottom). Each input runs
// in a heap block of exactly its size, so that a read beyond it is seen. Arguments that begin with
// '-' are ignored, so that a command line written for libFuzzer works.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

namespace fs = std::filesystem;

bool run(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    std::fprintf(stderr, "%s: cannot be read\n", path.c_str());
    return false;
  }
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  std::vector<std::uint8_t> octets(text.begin(), text.end());
  octets.shrink_to_fit();
  // Named before it runs: the last name printed is that of the input that crashed.
  std::printf("%s\n", path.c_str());
  std::fflush(stdout);
  LLVMFuzzerTestOneInput(octets.data(), octets.size());
  return true;
}

int run_all(int argc, char** argv) {
  std::size_t inputs = 0;
  bool good = true;
  for (int i = 1; i < argc; ++i) {
    if (argv[i][0] == '-') continue;
    std::vector<fs::path> paths;
    if (fs::is_directory(argv[i])) {
      for (const auto& entry : fs::recursive_directory_iterator(argv[i]))
        if (entry.is_regular_file()) paths.push_back(entry.path());
      std::sort(paths.begin(), paths.end());
    } else {
      paths.emplace_back(argv[i]);
    }
    for (const fs::path& path : paths) good = run(path) && good;
    inputs += paths.size();
  }
  std::printf("%zu inputs\n", inputs);
  return good && inputs != 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run_all(argc, argv);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
}
