/* Echoes the input of COM1, up to a `q`. */
#include "runtime/guest.h"

void main(void) {
    puts("serial-echo\n");
    for (char c = 0; c != 'q';) {
        while (!(in8(COM1_LINE_STATUS) & 1))
            ;
        c = in8(COM1);
        putch(c);
    }
    puts("\nserial-echo: done\n");
}
