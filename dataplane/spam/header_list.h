// The header fields of a message or part as SpamAssassin keeps them, and what rules ask of them.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "dataplane/spam/text.h"

namespace sluice::spam {

inline constexpr std::size_t kMaxFieldName = 256;
inline constexpr std::size_t kMaxFieldValue = 8192;
inline constexpr std::size_t kMaxFields = 1000;

// Valid as long as the list.
struct Field {
  std::string_view name;  // as written
  std::string_view lower_name;
  std::string_view raw;    // behind the colon, folds and the last line end included, line ends LF
  std::string_view value;  // unfolded, words decoded, trimmed
  std::string_view line;   // that with a line end
  std::uint64_t hash = 0;  // scan::FieldNames::hash() of its name
};

class HeaderList {
 public:
  // `memory`: gives back nothing before it ends (the texts of the fields stay there).
  explicit HeaderList(std::pmr::monotonic_buffer_resource* memory)
      : fields_(memory), memory_(memory) {}

  // One field with its continuation lines, line ends LF. What has no colon is no field.
  // `of_part`: white space behind the colon is no part of the value.
  void add(std::string_view field, bool of_part);
  const std::pmr::vector<Field>& fields() const { return fields_; }
  // The last field of that name (lower case), or nullptr.
  const Field* last(std::string_view lower_name) const;
  bool has(std::string_view lower_name) const { return last(lower_name) != nullptr; }

 private:
  std::pmr::vector<Field> fields_;
  std::pmr::monotonic_buffer_resource* memory_;
};

}  // namespace sluice::spam
