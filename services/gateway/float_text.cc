// float_text.cc - the shortest decimal text that reads back as the same number, by the C++17
// standard library's to_chars; the only C++ in the tree.
#include <charconv>
#include <cstddef>

extern "C" size_t float_text(float value, char *out, size_t size)
{
    return static_cast<size_t>(std::to_chars(out, out + size, value).ptr - out);
}

extern "C" size_t double_text(double value, char *out, size_t size)
{
    return static_cast<size_t>(std::to_chars(out, out + size, value).ptr - out);
}
