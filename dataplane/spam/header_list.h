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

struct Field {
  using allocator_type = std::pmr::polymorphic_allocator<>;
  explicit Field(const allocator_type& a = {}) : name(a), lower_name(a), raw(a), value(a) {}
  Field(const Field& o, const allocator_type& a)
      : name(o.name, a), lower_name(o.lower_name, a), raw(o.raw, a), value(o.value, a) {}
  Field(Field&& o, const allocator_type& a)
      : name(std::move(o.name), a),
        lower_name(std::move(o.lower_name), a),
        raw(std::move(o.raw), a),
        value(std::move(o.value), a) {}
  String name;  // as written
  String lower_name;
  String raw;    // behind the colon, folds and the last line end included, line ends LF
  String value;  // unfolded, words decoded, trimmed
};

class HeaderList {
 public:
  explicit HeaderList(std::pmr::memory_resource* memory) : fields_(memory), memory_(memory) {}

  // One field with its continuation lines, line ends LF. What has no colon is no field.
  // `of_part`: white space behind the colon is no part of the value.
  void add(std::string_view field, bool of_part);
  const std::pmr::vector<Field>& fields() const { return fields_; }
  // The last field of that name (lower case), or nullptr.
  const Field* last(std::string_view lower_name) const;
  bool has(std::string_view lower_name) const { return last(lower_name) != nullptr; }

 private:
  std::pmr::vector<Field> fields_;
  std::pmr::memory_resource* memory_;
};

}  // namespace sluice::spam
