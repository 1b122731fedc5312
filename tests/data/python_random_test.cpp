// SPDX-License-Identifier: Apache-2.0
#include "calibrate/data/python_random.h"

#include <gtest/gtest.h>

#include <numeric>
#include <ostream>
#include <vector>

namespace kvcalib {
namespace {

// Numbers that CPython 3.11 gave after random.seed(seed), each list right after seeding.
struct Known {
  uint64_t seed;
  std::vector<uint64_t> words;    // getrandbits(32)
  std::vector<uint64_t> bits;     // getrandbits of kBits
  std::vector<int64_t> integers;  // randint(0, bound) of kBounds
  std::vector<int> shuffled;      // list(range(10))
  uint64_t sum;  // over i < 5000 of randint(-5, i), each time: sum = sum * 31 + number
};

void PrintTo(const Known& known, std::ostream* stream) { *stream << "seed " << known.seed; }

const std::vector<int> kBits{1, 8, 31, 32, 33, 48, 63, 64};
const std::vector<int64_t> kBounds{0,
                                   1,
                                   2,
                                   3,
                                   6,
                                   7,
                                   8,
                                   99,
                                   999,
                                   355999,
                                   2147483647,
                                   2147483648,
                                   4294967295,
                                   4294967296,
                                   1099511640121,
                                   4611686018427387904};

const std::vector<Known> kKnown{
    Known{0ULL,
          {3626764237, 1654615998, 3255389356},
          {1ULL, 98ULL, 1627694678ULL, 3823568514ULL, 1806341205ULL, 271752282791482ULL,
           4481891911369680482ULL, 16938433693753131896ULL},
          {0LL, 1LL, 0LL, 2LL, 4LL, 7LL, 6LL, 38LL, 991LL, 249874LL, 1537810351LL, 938204377LL,
           2167613558LL, 1210484339LL, 209404584569LL, 1355479673763813643LL},
          {7, 8, 1, 5, 3, 4, 2, 0, 9, 6},
          12981914241790779309ULL},
    Known{1ULL,
          {577090037, 2444712010, 3639700191},
          {0ULL, 145ULL, 1819850095ULL, 3445702192ULL, 3280387012ULL, 33188307809340ULL,
           7018639715332314491ULL, 8711387064946514083ULL},
          {0LL, 0LL, 1LL, 0LL, 3LL, 7LL, 7LL, 83LL, 388LL, 110076LL, 403123852LL, 2095328386LL,
           3589583794LL, 1912923437LL, 227398206114LL, 2927771633508938553LL},
          {6, 8, 9, 7, 5, 3, 0, 4, 1, 2},
          15873016838394289363ULL},
    Known{42ULL,
          {2746317213, 478163327, 107420369},
          {1ULL, 28ULL, 53710184ULL, 3184935163ULL, 1181241943ULL, 39274139637470ULL,
           945351111358374057ULL, 13662908291426823533ULL},
          {0LL, 0LL, 2LL, 2LL, 1LL, 3LL, 2LL, 94LL, 104LL, 354785LL, 373399426LL, 1812140441LL,
           136505587LL, 402418010LL, 58420225604LL, 1833953597603037606LL},
          {7, 3, 2, 8, 5, 6, 9, 4, 0, 1},
          15889611819678174220ULL},
    Known{4294967295ULL,
          {2728839433, 2661025012, 872737089},
          {1ULL, 158ULL, 436368544ULL, 924893097ULL, 6903586996ULL, 169742653781767ULL,
           8869234182120542214ULL, 12402786996002542852ULL},
          {0LL, 0LL, 2LL, 2LL, 4LL, 5LL, 6LL, 86LL, 705LL, 146620LL, 1525079338LL, 2135565362LL,
           1762836277LL, 3453575882LL, 358052257146LL, 575908821958692726LL},
          {0, 7, 1, 5, 2, 6, 4, 8, 3, 9},
          7664423269547078688ULL},
    Known{4294967296ULL,
          {485306839, 1508871100, 1794561286},
          {0ULL, 89ULL, 897280643ULL, 4014597330ULL, 71624475ULL, 246598174623497ULL,
           7031281961490375168ULL, 15455483573206641377ULL},
          {0LL, 1LL, 1LL, 0LL, 0LL, 5LL, 8LL, 57LL, 14LL, 72396LL, 325445696LL, 1860411164LL,
           2152139213LL, 1637731430LL, 1017595391073LL, 2866236868204557565LL},
          {8, 9, 3, 2, 4, 7, 0, 6, 5, 1},
          764240213667084221ULL},
    Known{4294967297ULL,
          {991850117, 2151679444, 2200792185},
          {0ULL, 128ULL, 1100396092ULL, 3616180723ULL, 6075586351ULL, 75527393586668ULL,
           2294452200198278174ULL, 4119449895572434278ULL},
          {0LL, 1LL, 0LL, 2LL, 4LL, 3LL, 3LL, 91LL, 859LL, 69000LL, 1050974320LL, 1664883599LL,
           3431772412LL, 3239761213LL, 686150747348LL, 456998589825681802LL},
          {9, 5, 4, 1, 2, 0, 7, 6, 8, 3},
          14106590289177643555ULL},
    Known{12345678901234567890ULL,
          {2199100970, 3695432519, 4002396509},
          {1ULL, 220ULL, 2001198254ULL, 2348474455ULL, 2758709522ULL, 91946025263901ULL,
           4849673757001887676ULL, 10540582179027566562ULL},
          {0LL, 1LL, 1LL, 1LL, 4LL, 7LL, 5LL, 16LL, 76LL, 92031LL, 262452659LL, 1953856295LL,
           2018646999LL, 1525684933LL, 252145049178LL, 3744265476067760479LL},
          {0, 3, 4, 1, 5, 2, 6, 7, 9, 8},
          10131029934780359210ULL},
    Known{18446744073709551615ULL,
          {93740670, 1068495656, 1452108352},
          {0ULL, 63ULL, 726054176ULL, 2657516307ULL, 910393425ULL, 26747403298243ULL,
           8308523266359230708ULL, 14166965630497767659ULL},
          {0LL, 0LL, 1LL, 1LL, 3LL, 1LL, 5LL, 98LL, 749LL, 28496LL, 826990556LL, 2017374292LL,
           4079183629LL, 3440462413LL, 577601871631LL, 2897328476399074406LL},
          {2, 6, 7, 9, 8, 1, 4, 5, 3, 0},
          12289132163110527324ULL},
};

class PythonRandomOfSeed : public testing::TestWithParam<Known> {};

TEST_P(PythonRandomOfSeed, GivesTheWordsOfCPython) {
  PythonRandom random(GetParam().seed);
  for (const uint64_t word : GetParam().words) EXPECT_EQ(random.bits(32), word);
}

TEST_P(PythonRandomOfSeed, GivesTheBitsOfCPython) {
  PythonRandom random(GetParam().seed);
  for (size_t i = 0; i < kBits.size(); ++i) {
    EXPECT_EQ(random.bits(kBits[i]), GetParam().bits[i]) << kBits[i] << " bits";
  }
}

TEST_P(PythonRandomOfSeed, GivesTheIntegersOfCPython) {
  PythonRandom random(GetParam().seed);
  for (size_t i = 0; i < kBounds.size(); ++i) {
    EXPECT_EQ(random.between(0, kBounds[i]), GetParam().integers[i]) << "up to " << kBounds[i];
  }
}

TEST_P(PythonRandomOfSeed, ShufflesAsCPython) {
  PythonRandom random(GetParam().seed);
  std::vector<int> values(10);
  std::iota(values.begin(), values.end(), 0);
  random.shuffle(std::span(values));
  EXPECT_EQ(values, GetParam().shuffled);
}

TEST_P(PythonRandomOfSeed, KeepsGivingTheIntegersOfCPython) {
  PythonRandom random(GetParam().seed);
  uint64_t sum = 0;
  for (int64_t i = 0; i < 5000; ++i) sum = sum * 31 + static_cast<uint64_t>(random.between(-5, i));
  EXPECT_EQ(sum, GetParam().sum);
}

INSTANTIATE_TEST_SUITE_P(Seeds, PythonRandomOfSeed, testing::ValuesIn(kKnown),
                         [](const auto& info) { return std::to_string(info.param.seed); });

TEST(PythonRandom, StaysInsideTheBounds) {
  PythonRandom random(3);
  std::vector<int> seen(7);
  for (int i = 0; i < 2000; ++i) {
    const int64_t number = random.between(-3, 3);
    ASSERT_GE(number, -3);
    ASSERT_LE(number, 3);
    ++seen[number + 3];
  }
  for (const int count : seen) EXPECT_GT(count, 200);
}

TEST(PythonRandom, ShufflesNothingAndOne) {
  PythonRandom random(0);
  random.shuffle(std::span<int>());
  std::vector<int> one{5};
  random.shuffle(std::span(one));
  EXPECT_EQ(one, std::vector<int>{5});
  EXPECT_EQ(random.bits(32), 3626764237u) << "neither draws a number";
}

}  // namespace
}  // namespace kvcalib
