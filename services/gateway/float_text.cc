// float_text.cc - the shortest decimal text that reads back as the same number, by the C++17
// standard library's to_chars.
#include <charconv>
#include <cstddef>
#include <cstdint>

static constexpr size_t text_max = 32; // NUMBER_TEXT_MAX; the longest, of a double, has 24

template <typename number> static size_t text(number value, char *out)
{
    return static_cast<size_t>(std::to_chars(out, out + text_max, value).ptr - out);
}

extern "C" size_t float_text(float value, char *out)
{
    return text(value, out);
}

extern "C" size_t double_text(double value, char *out)
{
    return text(value, out);
}

extern "C" size_t int_text(int64_t value, char *out)
{
    return text(value, out);
}

extern "C" size_t uint_text(uint64_t value, char *out)
{
    return text(value, out);
}
