# Entry points of both boot protocols, the GDT and the stack. Both protocols enter the kernel in the same state: 32-bit
# protected mode, flat segments, paging and interrupts off, EBX = the protocol's information.
    .code32

#ifdef MULTIBOOT
    # Multiboot 1 header, which must lie in the first 8 KiB of the file. Flag bit 1 requests memory information.
    .set    MAGIC, 0x1badb002
    .set    FLAGS, 2
    .section .head, "a"
    .align  4
    .long   MAGIC, FLAGS, -(MAGIC + FLAGS)
#else
    # Xen's ELF note 18 (XEN_ELFNOTE_PHYS32_ENTRY), 8 bytes wide as in 64-bit images: the PVH entry point.
    .section .note.pvh, "a", @note
    .align  4
    .long   4, 8, 18
    .asciz  "Xen"
    .long   start, 0
#endif

    .text
    .globl  start
start:
    cli
    cld
    movl    %esp, entry_esp
    movl    $stack_top, %esp
    lgdt    gdt_pointer
    ljmp    $8, $1f
1:  movw    $16, %ax
    movw    %ax, %ds
    movw    %ax, %es
    movw    %ax, %ss
    xorl    %eax, %eax              # the address of the command line; 0 for none
#ifdef MULTIBOOT
    testb   $4, (%ebx)              # multiboot_info.flags: cmdline is valid
    jz      2f
    movl    16(%ebx), %eax          # multiboot_info.cmdline
#else
    movl    24(%ebx), %eax          # hvm_start_info.cmdline_paddr
#endif
2:  pushl   %eax
    call    command_line_set
    call    main
    call    reset                   # a guest ends when main returns

    # The start of a processor after INIT and SIPI, in real mode. The code is copied to AP_PAGE (smp.c). Only its two
    # absolute references depend on the position. They lie above 64 KiB and are used in 32-bit mode or through the copy.
    .globl  ap_start, ap_start_end
    .code16
ap_start:
    cli
    movw    %cs, %ax
    movw    %ax, %ds
    lgdtl   ap_gdt_pointer - ap_start
    movl    %cr0, %eax
    orb     $1, %al
    movl    %eax, %cr0
    ljmpl   $8, $ap_protected
ap_gdt_pointer:
    .word   gdt_end - gdt - 1
    .long   gdt
ap_start_end:

    .code32
ap_protected:
    movw    $16, %ax
    movw    %ax, %ds
    movw    %ax, %es
    movw    %ax, %ss
    movl    $1, %ebx
    lock xaddl %ebx, ap_count       # EBX: number of processors that started earlier
    movl    %ebx, %eax
    shll    $12, %eax
    leal    ap_stacks + 4096(%eax), %esp
    incl    %ebx                    # processors are numbered from 1, the boot processor is 0
    pushl   %ebx
    call    ap_main
3:  cli
    hlt
    jmp     3b

    # The accessed bits are set, because the table may be read-only for a processor that would set them.
    .section .rodata
    .align  8
gdt:
    .quad   0
    .quad   0x00cf9b000000ffff      # 0x08: code, 4 GiB, 32-bit
    .quad   0x00cf93000000ffff      # 0x10: data, 4 GiB
gdt_end:
gdt_pointer:
    .word   gdt_end - gdt - 1
    .long   gdt

    .bss
    .align  16
    .skip   8192
    .globl  stack_top
stack_top:
ap_stacks:
    .skip   4096 * 3
    .globl  ap_count
ap_count:
    .skip   4
    .globl  entry_esp               # the stack pointer at the entry
entry_esp:
    .skip   4

    .section .note.GNU-stack, "", @progbits
