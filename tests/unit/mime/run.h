// Runs a message through the parser at every kind of cut, with one result.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "tests/unit/mime/recorder.h"

namespace sluice::mime::test {

inline Recorder run(const std::string& message, Limits limits = all_wanted()) {
  Recorder whole;
  parse(whole, message, 0, limits);
  EXPECT_FALSE(whole.faulty);
  for (const auto& [n, p] : whole.parts) {
    EXPECT_TRUE(p.begun && p.ended) << n;
    EXPECT_EQ(p.alternative, is_alternative(n)) << n;
    EXPECT_FALSE(p.alternative && !(p.decoded.empty() && p.text.empty())) << n;
  }
  if (message.size() > 400'000) return whole;
  for (const long size : {1L, 2L, 3L, 536L, -1L, -2L, -3L, -4L}) {
    if (size == 1 && message.size() > 100'000) continue;
    Recorder again;
    parse(again, message, size, limits);
    EXPECT_TRUE(again == whole) << "in pieces of " << size;
    EXPECT_FALSE(again.faulty);
  }
  return whole;
}

inline std::string text_message(const std::string& headers, const std::string& body) {
  return headers + "\r\n" + body;
}

inline std::string plain(const std::string& body) {
  return text_message("Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\n", body);
}
inline std::string html(const std::string& body) {
  return text_message("Subject: x\r\nContent-Type: text/html; charset=utf-8\r\n", body);
}

}  // namespace sluice::mime::test
