// number.cc - see number.h; from_chars has no counterpart in C.
#include <cfloat>
#include <charconv>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <system_error>

static constexpr size_t number_max = 64; // bytes of a number's text
static constexpr int digits_max = 15;    // that any double holds

// Most numbers are short integers: these need no more than this.
static bool short_integer(const char *p, const char *end, double *value)
{
    bool negative = *p == '-';
    int64_t n = 0;
    p += negative;
    if (p == end || end - p > digits_max)
        return false;
    for (; p < end; p++) {
        if (*p < '0' || *p > '9')
            return false;
        n = n * 10 + (*p - '0');
    }
    *value = static_cast<double>(negative ? -n : n);
    return true;
}

extern "C" bool number_read(const char *text, size_t len, double *value, bool *whole)
{
    const char *p = text, *end = text + len;
    if (len > 1 && *p == '+' && p[1] != '-')
        p++;
    if (p == end || len > number_max)
        return false;
    *whole = short_integer(p, end, value);
    if (*whole)
        return true;
    char first = *p == '-' && p + 1 < end ? p[1] : *p;
    if ((first < '0' || first > '9') && first != '.')
        return false; // "inf", "nan"
    auto result = std::from_chars(p, end, *value);
    if (result.ptr != end)
        return false;
    if (result.ec == std::errc::result_out_of_range)
        *value = std::strtod(std::string(p, end).c_str(), nullptr); // 0 if it is too small
    else if (result.ec != std::errc())
        return false;
    *whole = true;
    for (const char *c = p + (*p == '-'); c < end; c++)
        *whole = *whole && *c >= '0' && *c <= '9';
    return std::isfinite(static_cast<float>(*value));
}
