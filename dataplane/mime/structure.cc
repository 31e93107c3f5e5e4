// The parts of a layer: how they begin, what they are, how they end, and the other readings.
#include <algorithm>

#include "dataplane/mime/charset.h"
#include "dataplane/mime/layer.h"
#include "dataplane/mime/text.h"

namespace sluice::mime {
namespace {

constexpr std::uint32_t kBranches = 32;     // in one message
constexpr std::uint32_t kOpenBranches = 4;  // at one time

template <typename T, typename... Args>
T* make(Context& context, Args&&... args) {
  return std::pmr::polymorphic_allocator<>(&context.memory)
      .new_object<T>(std::forward<Args>(args)...);
}
template <typename T>
void destroy(Context& context, T*& object) {
  if (object != nullptr) std::pmr::polymorphic_allocator<>(&context.memory).delete_object(object);
  object = nullptr;
}

bool is_message_type(const ContentType& type) {
  if (type.type != "message") return false;
  return type.subtype == "rfc822" || type.subtype == "global" || type.subtype == "news" ||
         (type.subtype == "partial" && !type.later_fragment);
}

// What mail programs open as a message, whatever its type.
bool is_message_name(std::string_view name) {
  for (const std::string_view suffix : {".eml", ".mht", ".mhtml"}) {
    if (ends_with_ignoring_case(trim(name), suffix)) return true;
  }
  return false;
}

bool is_html_name(std::string_view name) {
  for (const std::string_view suffix : {".html", ".htm", ".shtml", ".xhtml", ".xht", ".svg"}) {
    if (ends_with_ignoring_case(trim(name), suffix)) return true;
  }
  return false;
}

// The worst of the names, and the first of the others.
void choose_names(const ContentType& type, const ContentInfo& info, Part& part) {
  int danger = -1;
  const auto each = [&](auto&& use) {
    for (const std::pmr::string& n : info.disposition_names) use(std::string_view(n));
    for (const std::pmr::string& n : type.names) use(std::string_view(n));
  };
  each([&](std::string_view name) {
    const int d = danger_of_name(name);
    if (d > danger) {
      danger = d;
      part.name = name;
    }
  });
  each([&](std::string_view name) {
    if (part.other_name.empty() && name != part.name) part.other_name = name;
  });
}

}  // namespace

Layer::Layer(Context& context, PartNumber parent, std::uint32_t depth, bool alternative)
    : context_(context),
      parent_(parent),
      depth_(depth),
      alternative_(alternative),
      stack_(&context.memory),
      branches_(&context.memory),
      line_(&context.memory),
      candidate_(&context.memory) {}

Layer::~Layer() {
  for (Branch& b : branches_) {
    destroy(context_, b.layer);
    destroy(context_, b.decoder);
    destroy(context_, b.bare_cr);
    destroy(context_, b.context);
  }
  for (Entity& e : stack_) {
    destroy(context_, e.leaf);
    destroy(context_, e.child);
    destroy(context_, e.file);
  }
}

void Layer::begin_message() { begin_entity(parent_, depth_, false); }

Layer::Entity& Layer::push_entity(PartNumber parent, std::uint32_t depth) {
  Entity e{.boundary = std::pmr::string(&context_.memory)};
  e.number = context_.begin_part();
  e.parent = parent;
  e.depth = depth;
  stack_.push_back(std::move(e));
  return stack_.back();
}

// A part begins with its header. Past the bound of parts what follows is not divided any more.
bool Layer::begin_entity(PartNumber parent, std::uint32_t depth, bool in_digest) {
  if (!context_.may_begin_part()) {
    remainder_ = true;
    return false;
  }
  push_entity(parent, depth).in_digest = in_digest;
  header_ = make_pmr<HeaderBlock>(&context_.memory, context_, stack_.back().number);
  line_start_ = true;
  return true;
}

// Goes on with the header that another layer reads, for the part on top.
void Layer::copy_header(const HeaderBlock& header) {
  header_ = make_pmr<HeaderBlock>(&context_.memory, header, stack_.back().number);
}

void Layer::begin_body(const Reading& reading) {
  Entity& e = stack_.back();
  const ContentInfo& info = header_->info();
  ContentType assumed(&context_.memory);
  const bool told = reading.type < info.types.size();
  if (!told || info.types[reading.type].subtype.empty()) {
    if (told) assumed = info.types[reading.type];
    if (assumed.type == "multipart") {
      assumed.subtype = "mixed";
    } else {
      // No type, or none that can be read: RFC 2045 5.2, and RFC 2046 5.1.5.
      assumed.type = e.in_digest && info.types.empty() ? "message" : "text";
      assumed.subtype = assumed.type == "text" ? "plain" : "rfc822";
    }
  }
  const ContentType& type = assumed.subtype.empty() ? info.types[reading.type] : assumed;
  const bool message = is_message_type(type);
  if (type.type == "message" && type.subtype == "partial")
    context_.raise(contract::Anomaly::partial_message);

  Part part;
  part.number = e.number;
  part.parent = e.parent;
  part.depth = e.depth;
  part.type = type.type;
  part.subtype = type.subtype;
  part.charset = type.charset;
  part.transfer_encoding = info.transfer_encoding;
  part.disposition = info.disposition;
  part.content_id = info.content_id;
  part.multipart = type.type == "multipart";
  part.nested_message = message;
  part.alternative = alternative_;
  choose_names(type, info, part);
  part.attachment =
      !part.multipart && (!part.name.empty() || part.disposition == "attachment" ||
                          (!message && part.type != "text" && part.type != "message"));
  if (!part.other_name.empty()) context_.raise(contract::Anomaly::two_names);
  context_.sink.on_part_begin(part);

  if ((part.multipart || message) && e.depth >= context_.limits.depth) {
    context_.raise(contract::Anomaly::depth_limit);
    Leaf::Plan plan;
    plan.number = e.number;
    plan.depth = e.depth;
    plan.text = true;
    plan.report_text = false;
    plan.kind = DataKind::alternative;
    e.mode = Mode::leaf;
    e.leaf = make<Leaf>(context_, context_, plan);
    header_.reset();
    return;
  }
  if (part.multipart || message) {
    begin_container(e, type, reading, part);
  } else {
    begin_leaf(e, type, reading, part);
    branch_readings(type, reading, true);
    if (is_message_name(part.name) || is_message_name(part.other_name)) branch_message(reading);
    header_.reset();
  }
}

void Layer::begin_leaf(Entity& e, const ContentType& type, const Reading& reading,
                       const Part& part) {
  const ContentInfo& info = header_->info();
  Leaf::Plan plan;
  plan.number = e.number;
  plan.depth = e.depth;
  plan.alternative = alternative_;
  const std::string_view subtype = type.subtype;
  plan.html = subtype == "html" || subtype == "xhtml+xml" || subtype == "svg+xml" ||
              is_html_name(part.name);
  plan.text = plan.html || type.type == "text" || type.type == "message";
  plan.plain = type.type == "text" && subtype == "plain";
  if (plan.plain && type.delsp)
    plan.joined = LineJoiner::Kind::delsp;
  else if (type.type == "text" && (subtype == "calendar" || subtype == "vcard" ||
                                   subtype == "x-vcard" || subtype == "directory"))
    plan.joined = LineJoiner::Kind::folded;
  plan.hashed = part.attachment;
  plan.charset = reading.other_charset ? type.other_charset : type.charset;
  // Who opens an attachment from its file does not see what the header declared.
  plan.sniffed = plan.html && (type.charset.empty() || part.attachment);
  plan.opposite = reading.opposite;
  if (!reading.identity && reading.encoding < info.encoding_count)
    plan.encoding = info.encodings[reading.encoding];
  e.mode = Mode::leaf;
  e.leaf = make<Leaf>(context_, context_, plan);
  line_start_ = true;
}

// A multipart, or a nested message. The reference `e` does not outlive what is pushed.
void Layer::begin_container(Entity& e, const ContentType& type, const Reading& reading,
                            const Part& part) {
  const ContentInfo& info = header_->info();
  const std::size_t at = stack_.size() - 1;
  if (!part.nested_message) {
    e.mode = Mode::multipart;
    ++multiparts_;
    e.digest = type.subtype == "digest";
    std::string_view boundary = reading.boundary;
    if (boundary.empty() && !type.boundaries.empty()) boundary = type.boundaries[0];
    if (boundary.empty() && !info.disposition_boundaries.empty()) {
      boundary = info.disposition_boundaries[0];
    }
    if (boundary.empty() || boundary.size() > 70) context_.raise(contract::Anomaly::bad_boundary);
    if (type.boundaries.size() + info.disposition_boundaries.size() > 1)
      context_.raise(contract::Anomaly::bad_boundary);
    e.boundary.assign(boundary);
    e.empty_boundary = type.empty_boundary;
    branch_readings(type, reading, false);
    header_.reset();
    line_start_ = true;
    return;
  }
  const Encoding encoding = reading.identity || reading.encoding >= info.encoding_count
                                ? Encoding::identity
                                : info.encodings[reading.encoding];
  if (encoding == Encoding::identity) {
    e.mode = Mode::message;
    if (part.attachment) {
      FileOutput::Plan file;
      file.part = e.number;
      file.depth = e.depth;
      file.hashed = true;
      e.file = make<AttachedMessage>(context_, context_, file);
      ++files_;
    }
    branch_readings(type, reading, true);
    header_.reset();
    begin_entity(stack_[at].number, stack_[at].depth + 1, false);
    return;
  }
  e.child = make<Layer>(context_, context_, e.number, e.depth + 1, alternative_);
  Leaf::Plan plan;
  plan.number = e.number;
  plan.depth = e.depth;
  plan.nested = e.child;
  plan.encoding = encoding;
  plan.hashed = part.attachment;
  e.mode = Mode::leaf;
  e.leaf = make<Leaf>(context_, context_, plan);
  e.child->begin_message();
  branch_readings(type, reading, true);
  header_.reset();
  line_start_ = true;
}

// What stands in a container and is no part: text to readers that do not know its type.
Leaf& Layer::filler(Entity& entity) {
  if (entity.leaf == nullptr) {
    Leaf::Plan plan;
    plan.number = entity.number;
    plan.depth = entity.depth;
    plan.alternative = alternative_;
    plan.text = true;
    plan.report_text = false;
    plan.kind = DataKind::alternative;
    entity.leaf = make<Leaf>(context_, context_, plan);
  }
  return *entity.leaf;
}

void Layer::end_filler(Entity& entity) {
  if (entity.leaf == nullptr) return;
  PartEnd end;
  entity.leaf->finish(end);
  destroy(context_, entity.leaf);
}

// Ends what is on top of the stack; a header that is in progress becomes an empty body first.
void Layer::pop() {
  if (stack_.back().mode == Mode::header) {
    header_->finish();
    begin_body({});
    return;
  }
  end_branches(stack_.size() - 1);
  Entity& e = stack_.back();
  PartEnd end;
  end.number = e.number;
  if (e.mode == Mode::leaf) {
    e.leaf->finish(end);
    end.number = e.number;
    if (e.child != nullptr) e.child->finish();
    destroy(context_, e.leaf);
    destroy(context_, e.child);
  } else {
    end_filler(e);
    if (e.file != nullptr) {
      e.file->finish(end);
      destroy(context_, e.file);
      --files_;
    }
    if (e.mode == Mode::multipart) {
      --multiparts_;
      if (!e.closed) context_.raise(contract::Anomaly::missing_boundary);
    }
  }
  context_.sink.on_part_end(end);
  stack_.pop_back();
}

// A layer that reads from here on what the body of `host` holds, with `encoding` undone before;
// null when no other reading may begin.
Layer* Layer::begin_branch(std::size_t host, Encoding encoding) {
  if (alternative_) return nullptr;
  Shared& shared = context_.shared;
  if (shared.alternatives >= kBranches || shared.alternatives_open >= kOpenBranches) {
    context_.raise(contract::Anomaly::limit);
    return nullptr;
  }
  ++shared.alternatives;
  ++shared.alternatives_open;
  const Entity& e = stack_[host];
  branches_.push_back({host, nullptr, nullptr, nullptr, nullptr});
  Branch& b = branches_.back();
  b.context =
      make<Context>(context_, context_.limits, shared, shared.alternatives * kAlternativeParts);
  b.layer = make<Layer>(context_, *b.context, e.parent, e.depth, true);
  if (encoding != Encoding::identity)
    b.decoder = make<TransferDecoder>(context_, encoding, &context_.memory);
  return b.layer;
}

// A body that another reading of the header (see `reading`) makes of the same octets.
void Layer::branch_body(const Reading& reading, Encoding encoding) {
  Layer* const layer = begin_branch(stack_.size() - 1, encoding);
  if (layer == nullptr) return;
  const Entity& e = stack_.back();
  layer->push_entity(e.parent, e.depth).in_digest = e.in_digest;
  layer->copy_header(*header_);
  layer->begin_body(reading);
}

// The other readings of the body on top: `whole` when its transfer encoding may be any (it is no
// multipart).
void Layer::branch_readings(const ContentType& type, const Reading& reading, bool whole) {
  if (alternative_) return;
  const ContentInfo& info = header_->info();
  if (reading.type == 0 && info.types.size() > 1) branch_body({.type = 1}, Encoding::identity);
  if (whole) {
    for (std::size_t i = 1; i < info.encoding_count; ++i)
      branch_body({.type = reading.type, .encoding = i}, Encoding::identity);
    if (type.type == "text" && !type.other_charset.empty())
      branch_body({.type = reading.type, .other_charset = true}, Encoding::identity);
    if (type.type == "text" && CharsetDecoder(type.charset).has_opposite())
      branch_body({.type = reading.type, .opposite = true}, Encoding::identity);
    return;
  }
  const std::string_view taken = stack_.back().boundary;
  for (const Strings* list : {&type.boundaries, &info.disposition_boundaries}) {
    for (const std::pmr::string& b : *list) {
      if (std::string_view(b) != taken)
        branch_body({.type = reading.type, .boundary = b}, Encoding::identity);
    }
  }
  // A multipart may not be encoded (RFC 2045 6.4), but some readers undo it.
  for (std::size_t i = 0; i < info.encoding_count; ++i) {
    if (info.encodings[i] != Encoding::identity)
      branch_body({.type = reading.type, .identity = true}, info.encodings[i]);
  }
}

// A file that is opened as a message: what it is attached as says nothing.
void Layer::branch_message(const Reading& reading) {
  const ContentInfo& info = header_->info();
  const Encoding encoding = reading.identity || reading.encoding >= info.encoding_count
                                ? Encoding::identity
                                : info.encodings[reading.encoding];
  if (Layer* const layer = begin_branch(stack_.size() - 1, encoding)) layer->begin_message();
}

// The line that is no field does not end the header.
void Layer::branch_header_goes_on() {
  Layer* const layer = begin_branch(stack_.size() - 1);
  if (layer == nullptr) return;
  const Entity& e = stack_.back();
  layer->push_entity(e.parent, e.depth).in_digest = e.in_digest;
  layer->copy_header(*header_);
  layer->skip_junk_ = true;
}

// Blank lines before the header are nothing.
void Layer::branch_blank_lines() {
  Layer* const layer = begin_branch(0);
  if (layer == nullptr) return;
  layer->begin_message();
  layer->skip_blank_ = true;
}

// The line of blanks ended the header.
void Layer::branch_body_begins() {
  Layer* const layer = begin_branch(stack_.size() - 1);
  if (layer == nullptr) return;
  const Entity& e = stack_.back();
  layer->push_entity(e.parent, e.depth).in_digest = e.in_digest;
  layer->copy_header(*header_);
  layer->header_->finish();
  layer->begin_body({});
}

// A line that begins with the boundary and goes on is a delimiter (RFC 2046 5.1.1 allows to read it
// so): once for each multipart.
void Layer::branch_begins_with(std::size_t entity) {
  Entity& e = stack_[entity];
  if (e.branched) return;
  e.branched = true;
  Layer* const layer = begin_branch(entity);
  if (layer == nullptr) return;
  layer->copy_multipart(e).begins_with = true;
}

// This layer goes on with the multipart that `e` is in another one.
Layer::Entity& Layer::copy_multipart(const Entity& e) {
  Entity& copy = push_entity(e.parent, e.depth);
  copy.mode = Mode::multipart;
  copy.begins_with = e.begins_with;
  copy.digest = e.digest;
  copy.empty_boundary = e.empty_boundary;
  copy.boundary.assign(e.boundary);
  ++multiparts_;
  Part part;
  part.number = copy.number;
  part.parent = e.parent;
  part.depth = e.depth;
  part.type = "multipart";
  part.subtype = "mixed";
  part.multipart = true;
  part.alternative = true;
  context_.sink.on_part_begin(part);
  return copy;
}

// A CR that no LF follows ends a line from here to the end of the message: every open multipart
// goes on, and a header, whose line (a long one) `line_crs` have ended just now.
void Layer::branch_bare_cr(std::size_t line_crs) {
  if (bare_cr_ || alternative_) return;
  bare_cr_ = true;
  Layer* const layer = begin_branch(0);
  if (layer == nullptr) return;
  branches_.back().bare_cr = make<BareCr>(context_);
  layer->bare_cr_ = true;
  // Who reads so (Thunderbird) takes no notice of header lines that are no field.
  layer->skip_junk_ = true;
  layer->delimiters_ = delimiters_;
  for (const Entity& e : stack_) {
    if (e.mode == Mode::multipart) layer->copy_multipart(e);
    if (e.mode != Mode::header) continue;
    layer->push_entity(e.parent, e.depth).in_digest = e.in_digest;
    layer->copy_header(*header_);
  }
  if (line_crs == 0) return;
  context_.raise(contract::Anomaly::bare_cr);
  layer->long_line_ = true;
  const std::uint8_t crs[2] = {'\r', '\r'};
  branches_.back().bare_cr->feed(Bytes(crs).first(line_crs),
                                 [&](Bytes octets) { layer->take(octets); });
}

void Layer::end_branches(std::size_t host) {
  for (std::size_t i = branches_.size(); i-- > 0;) {
    if (branches_[i].host < host) continue;
    Branch b = branches_[i];
    branches_.erase(branches_.begin() + static_cast<std::ptrdiff_t>(i));
    if (b.decoder != nullptr) {
      std::uint8_t buffer[TransferDecoder::kOutput];
      b.layer->take({buffer, b.decoder->finish(buffer)});
    }
    if (b.bare_cr != nullptr) b.bare_cr->finish([&](Bytes octets) { b.layer->take(octets); });
    b.layer->finish();
    // Octets of a file may hold a CR and a dash: only what divides the message is abnormal.
    if (b.bare_cr != nullptr && b.layer->delimiters_ != delimiters_)
      context_.raise(contract::Anomaly::bare_cr);
    destroy(context_, b.layer);
    destroy(context_, b.decoder);
    destroy(context_, b.bare_cr);
    destroy(context_, b.context);
    --context_.shared.alternatives_open;
  }
}

}  // namespace sluice::mime
