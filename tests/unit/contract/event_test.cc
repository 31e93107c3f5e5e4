#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "dataplane/contract/event_record.h"
#include "dataplane/contract/event_ring.h"

namespace sluice::contract {
namespace {

TEST(EventRecord, FieldsComeBackInOrder) {
  auto writer = std::make_unique<EventWriter>();
  EventHeader header;
  header.type = EventType::smtp;
  header.flow_id = 77;
  writer->begin(header);
  writer->put(Field::helo, std::string_view("abc"));
  writer->put_number(Field::size, std::uint64_t{1} << 40);
  writer->put(Field::rcpt_to, std::string_view(""));
  const Bytes record = writer->finish();
  auto reader = EventReader::open(record);
  ASSERT_TRUE(reader);
  EXPECT_EQ(reader->header().flow_id, 77u);
  EXPECT_EQ(reader->header().flags, 0);
  auto item = reader->next();
  ASSERT_TRUE(item);
  EXPECT_EQ(item->field, Field::helo);
  EXPECT_EQ(item->text(), "abc");
  item = reader->next();
  ASSERT_TRUE(item);
  EXPECT_EQ(item->number(), std::uint64_t{1} << 40);
  item = reader->next();
  ASSERT_TRUE(item);
  EXPECT_TRUE(item->value.empty());
  EXPECT_FALSE(reader->next());
}

TEST(EventRecord, WhatDoesNotFitIsLeftOutAndSaid) {
  auto writer = std::make_unique<EventWriter>();
  writer->begin({});
  const std::string text(3000, 'x');
  int kept = 0;
  for (int i = 0; i < 10; ++i) kept += writer->put(Field::rcpt_to, std::string_view(text));
  const Bytes record = writer->finish();
  EXPECT_LE(record.size(), kMaxEventSize);
  EXPECT_EQ(kept, 5);
  auto reader = EventReader::open(record);
  ASSERT_TRUE(reader);
  EXPECT_EQ(reader->header().flags & kEventTruncated, kEventTruncated);
  int read = 0;
  while (reader->next()) ++read;
  EXPECT_EQ(read, kept);
}

TEST(EventRecord, DamagedRecordsNeverReadBeyondThemselves) {
  auto writer = std::make_unique<EventWriter>();
  writer->begin({});
  for (int i = 0; i < 20; ++i) writer->put(Field::rcpt_to, std::string_view("<someone@b.test>"));
  const Bytes good = writer->finish();
  std::mt19937 random(3);
  for (int i = 0; i < 20000; ++i) {
    std::vector<std::uint8_t> bad(good.begin(), good.end());
    for (int k = 0; k < 4; ++k)
      bad[4 + random() % (bad.size() - 4)] = static_cast<std::uint8_t>(random());
    bad.resize(sizeof(EventHeader) + random() % (bad.size() - sizeof(EventHeader)));
    const auto size = static_cast<std::uint32_t>(bad.size());
    std::memcpy(bad.data(), &size, sizeof size);
    auto reader = EventReader::open(bad);
    ASSERT_TRUE(reader);
    std::size_t octets = 0;
    while (const auto item = reader->next()) octets += item->value.size();
    EXPECT_LE(octets, bad.size());
  }
}

struct Ring {
  explicit Ring(std::uint64_t capacity)
      : memory(event_ring_bytes(capacity) + 64),
        at(memory.data() + (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64)),
        producer(EventRingProducer::create(at, capacity)) {}
  EventRingConsumer consumer() { return {at, memory.size() - 64}; }
  std::vector<std::uint8_t> memory;
  std::uint8_t* at;
  EventRingProducer producer;
};

std::vector<std::uint8_t> record(std::uint32_t size, std::uint8_t fill) {
  std::vector<std::uint8_t> r(size, fill);
  std::memcpy(r.data(), &size, sizeof size);
  return r;
}

TEST(EventRing, EveryRecordComesOutWholeOverManyWraps) {
  Ring ring(4096);
  auto consumer = ring.consumer();
  ASSERT_TRUE(consumer.ok());
  std::mt19937 random(5);
  std::uint64_t read = 0;
  for (int i = 0; i < 5000; ++i) {
    const auto r =
        record(8 + static_cast<std::uint32_t>(random() % 500), static_cast<std::uint8_t>(i));
    ASSERT_TRUE(ring.producer.write(r)) << i;
    if (random() % 3 == 0)
      read += consumer.read(100, [&](Bytes b) { EXPECT_EQ(b[b.size() - 1], b[4]); });
    else if (i % 3 == 2)
      read += consumer.read(100, [](Bytes) {});
  }
  read += consumer.read(100, [](Bytes) {});
  EXPECT_EQ(read, 5000u);
  EXPECT_EQ(consumer.corrupt(), 0u);
}

TEST(EventRing, FullRingLosesTheNewRecordAndCountsIt) {
  Ring ring(4096);
  auto consumer = ring.consumer();
  int kept = 0;
  for (int i = 0; i < 20; ++i)
    kept += ring.producer.write(record(1000, static_cast<std::uint8_t>(i)));
  EXPECT_EQ(kept, 4);
  EXPECT_EQ(consumer.lost(), 16u);
  std::uint8_t expected = 0;
  EXPECT_EQ(consumer.read(100, [&](Bytes b) { EXPECT_EQ(b[4], expected++); }), 4u);
  EXPECT_TRUE(ring.producer.write(record(1000, 9)));
}

TEST(EventRing, NewConsumerGoesOnWhereTheDeadOneStopped) {
  Ring ring(4096);
  for (int i = 0; i < 3; ++i) ring.producer.write(record(64, static_cast<std::uint8_t>(i)));
  {
    auto first = ring.consumer();
    EXPECT_EQ(first.read(2, [](Bytes) {}), 2u);
  }
  auto second = ring.consumer();
  EXPECT_EQ(second.read(9, [](Bytes b) { EXPECT_EQ(b[4], 2); }), 1u);
}

TEST(EventRing, MemoryOfAnotherKindIsRefusedAndDamageIsSurvived) {
  std::vector<std::uint8_t> zero(8192);
  EXPECT_FALSE(EventRingConsumer(zero.data(), zero.size()).ok());
  std::mt19937 random(11);
  for (int i = 0; i < 3000; ++i) {
    Ring ring(4096);
    for (int k = 0; k < 10; ++k) ring.producer.write(record(200, static_cast<std::uint8_t>(k)));
    std::uint8_t* data = ring.at + sizeof(EventRingHeader);
    for (int k = 0; k < 5; ++k) data[random() % 2200] = static_cast<std::uint8_t>(random());
    auto consumer = ring.consumer();
    while (consumer.read(3, [&](Bytes b) {
      EXPECT_GE(b.data(), data);
      EXPECT_LE(b.data() + b.size(), data + 4096);
    }) > 0) {
    }
  }
}

}  // namespace
}  // namespace sluice::contract
