// One message as a stream of lines: headers, multiparts and their delimiters, identity-encoded
// nested messages. Every container that is open is an entry of one stack, so that nesting costs no
// recursion; what is encoded as a whole (a message/rfc822 in base64) is a layer of its own that the
// decoder feeds, at most Limits::depth of them.
//
//   header -- blank line --> body of: leaf | multipart (preamble, then parts, epilogue) | message
//   body   -- delimiter of an open multipart --> header of its next part (those above it end)
//
// The line end before a delimiter is the delimiter's (RFC 2046 5.1.1), so that a line end, and a
// line that may be a delimiter, is held until what follows is known.
//
// Where readers differ about the structure, the likeliest reading is this layer's and another
// layer, fed with the same octets from the place where they part, takes the other one ("branch"): a
// second boundary, Content-Type or encoding, a delimiter that only begins with the boundary, a
// header that ends at a line that is no field, CRs that end lines. Its parts are alternatives.
// Branches do not branch; their number is bounded.
#pragma once

#include <memory_resource>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/base/pmr_ptr.h"
#include "dataplane/mime/bare_cr.h"
#include "dataplane/mime/content.h"
#include "dataplane/mime/context.h"
#include "dataplane/mime/file_output.h"
#include "dataplane/mime/header_block.h"
#include "dataplane/mime/leaf.h"
#include "dataplane/mime/octet_sink.h"

namespace sluice::mime {

class Layer final : public OctetSink {
 public:
  // Where the message of this layer stands: `parent` and `depth` of its own part.
  Layer(Context& context, PartNumber parent, std::uint32_t depth, bool alternative);
  ~Layer();
  Layer(const Layer&) = delete;
  Layer& operator=(const Layer&) = delete;

  // The layer begins with the header of a message.
  void begin_message();
  void take(Bytes octets) override;
  void finish();

 private:
  // The octets of an attached message, lines of headers and delimiters included. A line end waits
  // until it is known whether it is the message's or of the delimiter that ends it.
  class AttachedMessage {
   public:
    AttachedMessage(Context& context, const FileOutput::Plan& plan) : output_(context, plan) {}
    void feed(Bytes octets);
    // The message ends before the held line end, or behind it.
    void drop_line_end() { held_ = 0; }
    void finish(PartEnd& end);

   private:
    FileOutput output_;
    std::uint8_t held_ = 0;
    std::uint8_t line_end_[2]{};
  };
  enum class Mode : std::uint8_t { header, leaf, multipart, message };
  struct Entity {
    PartNumber number = 0;
    PartNumber parent = 0;
    std::uint32_t depth = 0;
    Mode mode = Mode::header;
    bool digest = false;  // parts are messages unless they say otherwise (RFC 2046 5.1.5)
    bool in_digest = false;
    bool begins_with = false;     // any line that begins with the boundary is a delimiter
    bool delimited = false;       // a delimiter was seen
    bool empty_boundary = false;  // declared: "--" alone is a delimiter
    bool closed = false;          // the closing one
    bool branched = false;        // another reading of its delimiters was begun
    std::pmr::string boundary;
    Leaf* leaf = nullptr;    // of a leaf, or of a container's preamble or epilogue
    Layer* child = nullptr;  // of an encoded message
    // Of an attached message that is not encoded: its octets are a file too.
    AttachedMessage* file = nullptr;
  };
  struct Branch {
    std::size_t host;  // index of the entity in whose body both readings lie
    Context* context;
    Layer* layer;
    TransferDecoder* decoder;
    BareCr* bare_cr;  // CRs end lines
  };
  // What is decided about a body where its header allows several readings.
  struct Reading {
    std::size_t type = 0;
    std::string_view boundary;  // empty: the first
    bool identity = false;      // the transfer encoding is undone before, or is not believed
    std::size_t encoding = 0;   // else which of those the header names
    bool opposite = false;      // UTF-16 in the less likely order
    bool other_charset = false;
  };
  struct Match {
    std::size_t entity = 0;
    enum class Kind : std::uint8_t { none, delimiter, close, look_alike } kind = Kind::none;
    bool bare_cr = false;  // what looks like a delimiter ends at a CR
  };

  // layer.cc: lines
  std::size_t header(Bytes in);
  std::size_t rest_of_line(Bytes in);
  bool header_line(Bytes line, bool whole);
  std::size_t body(Bytes in);
  std::size_t held_line(Bytes in);
  void decide_candidate(bool whole);
  void release_line_end();
  void run_lines(Bytes octets, const std::uint8_t* cr_dash);
  void run_and_hold(Bytes octets);
  Match match(std::string_view line, bool whole) const;
  void act(const Match& m, Bytes line_end, Bytes line);
  void run(Bytes octets);
  void commit(Bytes octets);

  // structure.cc: parts
  bool begin_entity(PartNumber parent, std::uint32_t depth, bool in_digest);
  void copy_header(const HeaderBlock& header);
  void begin_body(const Reading& reading);
  void branch_readings(const ContentType& type, const Reading& reading, bool message);
  void begin_container(Entity& e, const ContentType& type, const Reading& reading,
                       const Part& part);
  void begin_leaf(Entity& e, const ContentType& type, const Reading& reading, const Part& part);
  Entity& push_entity(PartNumber parent, std::uint32_t depth);
  Leaf& filler(Entity& entity);
  void end_filler(Entity& entity);
  void pop();
  Layer* begin_branch(std::size_t host, Encoding encoding = Encoding::identity);
  void branch_body(const Reading& reading, Encoding encoding);
  void branch_message(const Reading& reading);
  void branch_header_goes_on();
  void branch_blank_lines();
  void branch_body_begins();
  void branch_begins_with(std::size_t entity);
  void branch_bare_cr(std::size_t line_crs = 0);
  Entity& copy_multipart(const Entity& e);
  void end_branches(std::size_t host);

  Context& context_;
  PartNumber parent_;
  std::uint32_t depth_;
  bool alternative_;
  bool skip_junk_ = false;   // a line of the header that is no field is nothing
  bool skip_blank_ = false;  // blank lines before the header are nothing
  bool bare_cr_ = false;     // of a branch: CRs were made line ends; else: that branch was begun
  bool remainder_ = false;   // past a bound: the rest is not divided any more
  std::size_t multiparts_ = 0;
  std::size_t files_ = 0;  // entities with `file`
  std::uint64_t delimiters_ = 0;
  std::pmr::vector<Entity> stack_;
  PmrPtr<HeaderBlock> header_;  // while there is one
  std::pmr::vector<Branch> branches_;

  // A line of the header that a cut divided, at most kHeaderLine octets; then the rest of it is
  // thrown away.
  std::pmr::string line_;
  bool long_line_ = false;
  std::uint8_t line_crs_ = 0;  // of a long line: CRs before what comes next, two at most
  // Of the body: whether the next octet begins a line, the line end before it that may be a
  // delimiter's, and what is there of a line that may be one.
  bool line_start_ = true;
  std::uint8_t line_end_size_ = 0;
  std::uint8_t line_end_[2]{};
  std::pmr::string candidate_;
};

}  // namespace sluice::mime
