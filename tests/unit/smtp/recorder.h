// Runs a dialogue through a smtp::Session and writes what the session says as a transcript that
// does not depend on how the octets were cut: message octets are joined, anomalies are a set.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory_resource>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/base/limited_resource.h"
#include "dataplane/smtp/session.h"

namespace sluice::smtp::test {

using contract::Anomaly;
using namespace std::string_literals;
using namespace std::string_view_literals;

struct Recorder final : SessionSink {
  struct Message {
    TransactionId tx = 0;
    Via via = Via::data;
    std::string text;  // dots unstuffed
    std::string wire;  // dots as sent
    bool ended = false;
    bool lost_in_front = false;
    MessageEnd end = MessageEnd::aborted;
  };
  struct Transaction {
    std::string mail, mailbox, parameters;
    std::vector<std::string> rcpt_paths, rcpts;
    std::map<std::uint32_t, int> rcpt_codes;
    int mail_code = 0;
    std::vector<int> data_codes;
    std::vector<std::pair<int, std::string>> ends;
  };
  struct Auth {
    std::string mechanism, user;
    int code = 0;
    bool operator==(const Auth&) const = default;
  };

  std::vector<std::string> log;  // everything but octets and anomalies, in order
  std::map<TransactionId, Transaction> transactions;
  std::vector<Message> messages;
  std::vector<Auth> auths;
  std::set<std::string> anomalies;
  std::vector<std::string> smuggled_envelopes;
  std::string smuggled;
  std::string opaque[2];
  std::string refused_hello;
  std::vector<std::string> content_replies;
  std::vector<std::pair<TransactionId, TransactionId>> adopted;
  std::vector<Verb> verbs;
  std::vector<int> replies;
  std::vector<std::pair<std::uint32_t, int>> deliveries;  // LMTP
  std::vector<std::string> claims;
  std::string helo;
  int tls = -1;             // 1 by STARTTLS, 0 from the first octet
  int ambiguous_asked = 0;  // on_ambiguous_end
  int data_calls = 0;
  std::function<MessageVerdict(TransactionId)> at_end;
  std::function<MessageVerdict(TransactionId)> at_ambiguous;
  std::string faults;  // calls out of order

  bool has(Anomaly a) const { return anomalies.contains(std::string(contract::info(a).name)); }
  std::string transcript() const {
    std::string t;
    for (const std::string& line : log) t += line + "\n";
    for (const Message& m : messages)
      t += "message " + std::to_string(m.tx) + " [" + m.text + "] [" + m.wire + "]\n";
    for (const std::string& a : anomalies) t += "anomaly " + a + "\n";
    for (const std::string& e : smuggled_envelopes) t += "smuggled " + e + "\n";
    t += "smuggled [" + smuggled + "]\nopaque [" + opaque[0] + "] [" + opaque[1] + "]\n";
    return t;
  }

  void note(std::string line) { log.push_back(std::move(line)); }
  void check(bool good, const char* what) {
    if (!good) faults += std::string(what) + "\n";
  }
  void on_helo(std::string_view name) override {
    helo = name;
    note("helo " + helo);
  }
  void on_mail(TransactionId tx, std::string_view path, std::string_view mailbox,
               std::string_view parameters) override {
    check(!ended.contains(tx), "mail after end");
    transactions[tx].mail = path;
    transactions[tx].mailbox = mailbox;
    transactions[tx].parameters = parameters;
    note("mail " + std::to_string(tx) + " " + std::string(path) + " (" + std::string(mailbox) +
         ") " + std::string(parameters));
  }
  void on_rcpt(TransactionId tx, std::uint32_t index, std::string_view path,
               std::string_view mailbox) override {
    check(!ended.contains(tx), "rcpt after end");
    Transaction& t = transactions[tx];
    check(index == t.rcpts.size(), "recipient index");
    t.rcpt_paths.emplace_back(path);
    t.rcpts.emplace_back(mailbox);
    note("rcpt " + std::to_string(tx) + " " + std::string(path) + " (" + std::string(mailbox) +
         ")");
  }
  void on_envelope_adopted(TransactionId from, TransactionId by) override {
    check(!ended.contains(from) && !ended.contains(by), "adopted after end");
    adopted.emplace_back(from, by);
    ended.insert(from);
    const Transaction& source = transactions[from];
    Transaction& target = transactions[by];
    target.rcpts.insert(target.rcpts.begin(), source.rcpts.begin(), source.rcpts.end());
    target.rcpt_paths.insert(target.rcpt_paths.begin(), source.rcpt_paths.begin(),
                             source.rcpt_paths.end());
    note("adopted " + std::to_string(from) + " by " + std::to_string(by));
  }
  void on_refused_hello(Bytes octets) override { refused_hello += as_text(octets); }
  void on_envelope_reply(TransactionId tx, std::uint32_t index, const Reply& reply) override {
    check(!ended.contains(tx), "envelope reply after end");
    if (index == UINT32_MAX)
      transactions[tx].mail_code = reply.code;
    else
      transactions[tx].rcpt_codes[index] = reply.code;
    note("envelope reply " + std::to_string(tx) + " " + std::to_string(index) + " " +
         std::to_string(reply.code) + " " + std::string(reply.text));
  }
  void on_data_reply(TransactionId tx, const Reply& reply) override {
    transactions[tx].data_codes.push_back(reply.code);
    note("data reply " + std::to_string(tx) + " " + std::to_string(reply.code));
  }
  void on_content_reply(TransactionId tx, const Reply& reply) override {
    content_replies.push_back(std::to_string(tx) + " " + std::to_string(reply.code) + " " +
                              std::string(reply.text));
  }
  void on_message_gap(TransactionId tx) override {
    check(!messages.empty() && messages.back().tx == tx && messages.back().text.empty(),
          "gap that is not in front");
    if (!messages.empty()) messages.back().lost_in_front = true;
  }
  void on_message_begin(TransactionId tx, Via via) override {
    check(messages.empty() || messages.back().ended, "message inside a message");
    check(!ended.contains(tx), "message after end");
    messages.push_back({.tx = tx, .via = via});
    note("begin " + std::to_string(tx) + (via == Via::bdat ? " bdat" : " data"));
  }
  void on_message_data(TransactionId tx, Bytes octets) override {
    check(!octets.empty(), "empty data");
    check(!messages.empty() && !messages.back().ended && messages.back().tx == tx,
          "data outside a message");
    if (messages.empty()) return;
    ++data_calls;
    messages.back().text += as_text(octets);
    messages.back().wire += as_text(octets);
  }
  void on_stuffed_dot(TransactionId tx) override {
    check(!messages.empty() && !messages.back().ended && messages.back().tx == tx,
          "dot outside a message");
    if (!messages.empty()) messages.back().wire += '.';
  }
  MessageVerdict on_message_end(TransactionId tx, MessageEnd end) override {
    check(!messages.empty() && !messages.back().ended && messages.back().tx == tx,
          "end outside a message");
    const MessageVerdict verdict =
        end == MessageEnd::complete && at_end ? at_end(tx) : MessageVerdict::pass;
    if (!messages.empty()) {
      messages.back().ended = true;
      messages.back().end = end;
    }
    note("end " + std::to_string(tx) + (end == MessageEnd::complete ? " complete" : " aborted") +
         (verdict == MessageVerdict::stop ? " stop" : ""));
    return verdict;
  }
  MessageVerdict on_ambiguous_end(TransactionId tx) override {
    ++ambiguous_asked;
    return at_ambiguous ? at_ambiguous(tx) : MessageVerdict::pass;
  }
  void on_transaction_end(TransactionId tx, const Reply& reply) override {
    transactions[tx].ends.emplace_back(reply.code, reply.text);
    check(ended.insert(tx).second, "transaction ended twice");
    note("transaction end " + std::to_string(tx) + " " + std::to_string(reply.code) + " " +
         std::string(reply.text));
  }
  void on_smuggled_envelope(TransactionId outer, std::string_view mail,
                            std::string_view rcpt) override {
    smuggled_envelopes.push_back(std::to_string(outer) + " " + std::string(mail) + " " +
                                 std::string(rcpt));
  }
  void on_smuggled_data(TransactionId, Bytes octets) override { smuggled += as_text(octets); }
  void on_auth(std::string_view mechanism, std::string_view user, std::uint16_t code) override {
    auths.push_back({std::string(mechanism), std::string(user), code});
    note("auth " + std::string(mechanism) + " [" + std::string(user) + "] " + std::to_string(code));
  }
  void on_recipient_reply(TransactionId tx, std::uint32_t nth, const Reply& reply) override {
    check(!ended.contains(tx), "recipient reply after end");
    deliveries.emplace_back(nth, reply.code);
    note("recipient reply " + std::to_string(nth) + " " + std::to_string(reply.code));
  }
  void on_claimed_client(const ClaimedClient& claim, bool accepted) override {
    std::string text(kClaimNames[static_cast<std::size_t>(claim.via)]);
    if (!accepted) text += " refused";
    if (claim.address) {
      text += ' ';
      for (const std::uint8_t o : claim.address->octets) {
        text += "0123456789abcdef"[o >> 4];
        text += "0123456789abcdef"[o & 15];
      }
    }
    if (claim.port) text += " port " + std::to_string(claim.port);
    if (!claim.name.empty()) text += " name " + std::string(claim.name);
    if (!claim.helo.empty()) text += " helo " + std::string(claim.helo);
    if (!claim.login.empty()) text += " login " + std::string(claim.login);
    claims.push_back(text);
    note("claim " + text);
  }
  void on_command(Verb verb) override {
    verbs.push_back(verb);
    note("command " + std::to_string(static_cast<int>(verb)));
  }
  void on_reply(const Reply& reply) override {
    replies.push_back(reply.code);
    note("reply " + std::to_string(reply.code) + " " + std::string(reply.text));
  }
  void on_tls(bool starttls) override {
    check(tls == -1, "TLS twice");
    tls = starttls;
    note("tls");
  }
  void on_opaque(Direction direction, Bytes octets) override {
    opaque[index(direction)] += as_text(octets);
  }
  void on_anomaly(Anomaly anomaly) override {
    check(anomalies.insert(std::string(contract::info(anomaly).name)).second, "anomaly twice");
  }

  std::set<TransactionId> ended;
};

struct Turn {
  Direction direction;
  std::string octets;
};
inline Turn C(std::string_view octets) { return {Direction::to_server, std::string(octets)}; }
inline Turn S(std::string_view octets) { return {Direction::to_client, std::string(octets)}; }
using Dialogue = std::vector<Turn>;

// How each turn is cut: the size of the next piece.
using Cut = std::function<std::size_t()>;
inline Cut whole() {
  return [] { return SIZE_MAX; };
}
inline Cut pieces(std::size_t size) {
  return [size] { return size; };
}
inline Cut random_pieces(unsigned seed) {
  return [random = std::mt19937(seed)]() mutable { return std::size_t{1} + random() % 7; };
}

struct Options {
  Limits limits{};
  bool midstream = false;
  bool one_sided = false;
  bool finish = true;
  std::function<void(Recorder&)> prepare;
};

// The octets lie in fresh memory of their exact size for each piece, so that a view kept too long
// or a read past the end is seen by a sanitizer. Returns the octets of the client that were
// accepted.
inline std::size_t run(Recorder& recorder, const Dialogue& dialogue, const Cut& cut,
                       const Options& options = {},
                       const std::function<void(const Session&)>& inspect = {}) {
  LimitedResource memory(std::pmr::new_delete_resource(), 64 << 20);
  std::size_t accepted = 0;
  {
    Session session(options.limits, recorder, &memory);
    if (options.midstream) session.set_midstream();
    if (options.one_sided) session.set_one_sided(true);
    if (options.prepare) options.prepare(recorder);
    for (const Turn& turn : dialogue) {
      for (std::size_t at = 0; at < turn.octets.size();) {
        const std::size_t n = std::min(cut(), turn.octets.size() - at);
        const std::vector<std::uint8_t> piece(turn.octets.begin() + static_cast<long>(at),
                                              turn.octets.begin() + static_cast<long>(at + n));
        if (turn.direction == Direction::to_server)
          accepted += session.client(piece);
        else
          session.server(piece);
        at += n;
      }
    }
    if (options.finish) session.finish();
    if (inspect) inspect(session);
  }
  recorder.check(memory.used() == 0, "memory not given back");
  return accepted;
}

}  // namespace sluice::smtp::test
