// SPDX-License-Identifier: MIT
/* diag/diag.c - see diag.h. */
#include "diag/diag.h"

#include <unistd.h>

#include "os/os.h"

enum { DIAG_MESSAGE_BYTES = 2048 };

static const char diag_prefix[] = "hostheap: ";
static const char diag_cut_mark[] = "...";

struct diag_sink {
    char *buffer;
    size_t capacity_bytes; // room for text, without the final NUL
    size_t length_bytes;
};

static void
diag_put_char(struct diag_sink *sink, char c)
{
    if (sink->length_bytes < sink->capacity_bytes)
        sink->buffer[sink->length_bytes++] = c;
}

static void
diag_put_text(struct diag_sink *sink, const char *text)
{
    if (text == NULL)
        text = "(null)";
    while (*text != '\0')
        diag_put_char(sink, *text++);
}

static void
diag_put_number(struct diag_sink *sink, unsigned long long value, unsigned base)
{
    char digits[24];
    size_t count = 0;
    do {
        digits[count++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    while (count > 0)
        diag_put_char(sink, digits[--count]);
}

// How an integer argument was passed.
enum diag_width { DIAG_INT, DIAG_LONG, DIAG_LONG_LONG, DIAG_SIZE };

static enum diag_width
diag_read_width(const char **cursor)
{
    if (**cursor == 'z') {
        ++*cursor;
        return DIAG_SIZE;
    }
    if (**cursor != 'l')
        return DIAG_INT;
    ++*cursor;
    if (**cursor != 'l')
        return DIAG_LONG;
    ++*cursor;
    return DIAG_LONG_LONG;
}

// A va_list parameter may be an array type; a struct around it can be passed by address.
struct diag_arguments {
    va_list list;
};

static unsigned long long
diag_take_unsigned(struct diag_arguments *arguments, enum diag_width width)
{
    switch (width) {
    case DIAG_LONG:
        return va_arg(arguments->list, unsigned long);
    case DIAG_LONG_LONG:
        return va_arg(arguments->list, unsigned long long);
    case DIAG_SIZE:
        return va_arg(arguments->list, size_t);
    case DIAG_INT:
        break;
    }
    return va_arg(arguments->list, unsigned);
}

static long long
diag_take_signed(struct diag_arguments *arguments, enum diag_width width)
{
    switch (width) {
    case DIAG_LONG:
        return va_arg(arguments->list, long);
    case DIAG_LONG_LONG:
        return va_arg(arguments->list, long long);
    case DIAG_SIZE:
        return va_arg(arguments->list, ptrdiff_t);
    case DIAG_INT:
        break;
    }
    return va_arg(arguments->list, int);
}

static void
diag_put_signed(struct diag_sink *sink, long long value)
{
    unsigned long long magnitude = (unsigned long long)value;
    if (value < 0) {
        diag_put_char(sink, '-');
        magnitude = 0 - magnitude;
    }
    diag_put_number(sink, magnitude, 10);
}

// Formats the directive after a '%' and returns the character behind it.
static const char *
diag_put_directive(struct diag_sink *sink, const char *cursor, struct diag_arguments *arguments)
{
    enum diag_width width = diag_read_width(&cursor);
    switch (*cursor) {
    case 's':
        diag_put_text(sink, va_arg(arguments->list, const char *));
        break;
    case 'c':
        diag_put_char(sink, (char)va_arg(arguments->list, int));
        break;
    case 'd':
        diag_put_signed(sink, diag_take_signed(arguments, width));
        break;
    case 'u':
        diag_put_number(sink, diag_take_unsigned(arguments, width), 10);
        break;
    case 'x':
        diag_put_number(sink, diag_take_unsigned(arguments, width), 16);
        break;
    case 'p':
        diag_put_text(sink, "0x");
        diag_put_number(sink, (uintptr_t)va_arg(arguments->list, void *), 16);
        break;
    case '\0':
        return cursor;
    default: // "%%", and anything unknown is shown as it is
        diag_put_char(sink, *cursor);
        break;
    }
    return cursor + 1;
}

size_t
hhi_diag_vformat(char *buffer, size_t capacity_bytes, const char *format, va_list arguments)
{
    if (capacity_bytes == 0)
        return 0;
    struct diag_sink sink = {buffer, capacity_bytes - 1, 0};
    struct diag_arguments copy;
    va_copy(copy.list, arguments);
    while (*format != '\0') {
        if (*format != '%')
            diag_put_char(&sink, *format++);
        else
            format = diag_put_directive(&sink, format + 1, &copy);
    }
    va_end(copy.list);
    buffer[sink.length_bytes] = '\0';
    return sink.length_bytes;
}

size_t
hhi_diag_format(char *buffer, size_t capacity_bytes, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    size_t length_bytes = hhi_diag_vformat(buffer, capacity_bytes, format, arguments);
    va_end(arguments);
    return length_bytes;
}

void
hhi_diag_write(const char *text, size_t length_bytes)
{
    hhi_os_write(STDERR_FILENO, text, length_bytes);
}

static void
diag_write_message(const char *format, va_list arguments)
{
    char message[DIAG_MESSAGE_BYTES];
    size_t length_bytes = hhi_diag_format(message, sizeof message, "%s", diag_prefix);
    // One byte less than there is, kept for the line feed.
    length_bytes += hhi_diag_vformat(message + length_bytes, sizeof message - length_bytes - 1,
                                     format, arguments);
    if (length_bytes == sizeof message - 2) {
        size_t mark_bytes = sizeof diag_cut_mark - 1;
        __builtin_memcpy(message + length_bytes - mark_bytes, diag_cut_mark, mark_bytes);
    }
    message[length_bytes++] = '\n';
    hhi_diag_write(message, length_bytes);
}

void
hhi_diag_report(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    diag_write_message(format, arguments);
    va_end(arguments);
}

void
hhi_diag_fatal(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    diag_write_message(format, arguments);
    va_end(arguments);
    hhi_os_abort();
}
