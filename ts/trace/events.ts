// Written from crates/kvm/src/trace/events.rs by UPDATE_DOCS=1 cargo test -p kvm-accel-binding; the same test compares.

/** Every trace event: when it happens, and its arguments with their types, in the accelerator's order. */
export const traceEvents = {
  kvm_ioctl: {
    about: "An ioctl on the system's fd. QEMU shows the address of its argument, we show its name.",
    args: { type: 'u32', name: 'text' },
  },
  kvm_vm_ioctl: {
    about: "An ioctl on the VM's fd.",
    args: { type: 'u32', name: 'text' },
  },
  kvm_vcpu_ioctl: {
    about: "An ioctl on a vCPU's fd; KVM_RUN's comes before the guest is entered.",
    args: { cpu_index: 'u32', type: 'u32', name: 'text' },
  },
  kvm_run_exit: {
    about: 'KVM_RUN came back with an exit: KVM_EXIT_* in linux/kvm.h.',
    args: { cpu_index: 'u32', reason: 'u32' },
  },
  kvm_io_window_exit: {
    about: 'KVM_RUN came back because of a kick or another signal, without an exit.',
    args: {},
  },
  kvm_run_exit_system_event: {
    about: "The guest's firmware interface asks for something: KVM_SYSTEM_EVENT_* in linux/kvm.h.",
    args: { cpu_index: 'u32', event_type: 'u32' },
  },
  kvm_memory_fault: {
    about: 'The guest touched memory that cannot be given to it: KVM_MEMORY_EXIT_FLAG_* in linux/kvm.h.',
    args: { start: 'u64', size: 'u64', flags: 'u64' },
  },
  kvm_cpu_exec: {
    about: "A vCPU's thread begins to run the guest.",
    args: {},
  },
  kvm_interrupt_exit_request: {
    about: "A vCPU's thread has seen that it shall leave the guest.",
    args: {},
  },
  kvm_init_vcpu: {
    about: 'A vCPU is being set up.',
    args: { cpu_index: 'u32', arch_cpu_id: 'u32' },
  },
  kvm_create_vcpu: {
    about: 'A vCPU has been created.',
    args: { cpu_index: 'u32', arch_cpu_id: 'u32', kvm_fd: 'i32' },
  },
  kvm_destroy_vcpu: {
    about: "A vCPU's thread ends and takes the vCPU with it.",
    args: { cpu_index: 'u32', arch_cpu_id: 'u32' },
  },
  kvm_set_user_memory: {
    about: 'A memory slot was set; size 0 deletes it.',
    args: {
      as: 'u16',
      slot: 'u32',
      flags: 'u32',
      guest_phys_addr: 'u64',
      memory_size: 'u64',
      userspace_addr: 'u64',
      ret: 'i32',
    },
  },
  kvm_irqchip_commit_routes: {
    about: 'The GSI routing table goes to the kernel.',
    args: {},
  },
  kvm_irqchip_add_msi_route: {
    about: 'A message has been given a GSI. QEMU shows the device and its vector, we show the message.',
    args: { address: 'u64', data: 'u32', virq: 'u32' },
  },
  kvm_irqchip_update_msi_route: {
    about: 'The message of a GSI has become another one.',
    args: { virq: 'u32' },
  },
  kvm_irqchip_release_virq: {
    about: 'A GSI and its routes have been given up.',
    args: { virq: 'u32' },
  },
  kvm_resample_fd_notify: {
    about:
      'The guest has acknowledged a level-triggered GSI of an IOAPIC outside the kernel, and its resample eventfd is signalled.',
    args: { gsi: 'u32' },
  },
  kvm_clear_dirty_log: {
    about: 'The dirty bits of pages of a slot are forgotten.',
    args: { slot: 'u32', start: 'u64', size: 'u32' },
  },
  kvm_dirty_ring_full: {
    about: 'A vCPU stopped because its dirty ring is full.',
    args: { id: 'u32' },
  },
  kvm_dirty_ring_reap_vcpu: {
    about: "A vCPU's dirty ring is being harvested.",
    args: { id: 'u32' },
  },
  kvm_dirty_ring_page: {
    about: "A dirty page was harvested; as in QEMU, the slot is the index of the ring's entry.",
    args: { vcpu: 'u32', slot: 'u32', offset: 'u64' },
  },
  kvm_dirty_ring_reaper: {
    about: 'What the thread does that empties the dirty rings.',
    args: { s: 'text' },
  },
  kvm_dirty_ring_reap: {
    about: 'All dirty rings were harvested: how many pages, in how many microseconds.',
    args: { count: 'u64', t: 'u64' },
  },
  kvm_dirty_ring_flush: {
    about: 'The dirty rings are being emptied to the last entry: 0 at the beginning, 1 at the end.',
    args: { finished: 'u32' },
  },
  kvm_set_ioeventfd_mmio: {
    about: 'Writes to an address signal an eventfd from now on, or no longer.',
    args: { fd: 'i32', addr: 'u64', val: 'u64', assign: 'bool', size: 'u32', datamatch: 'bool' },
  },
  kvm_set_ioeventfd_pio: {
    about: 'Writes to a port signal an eventfd from now on, or no longer.',
    args: { fd: 'i32', addr: 'u16', val: 'u64', assign: 'bool', size: 'u32', datamatch: 'bool' },
  },
  kvm_notify: {
    about: 'A notify VM exit, real or injected, and whether the vCPU was resumed. Ours: QEMU has no event for it.',
    args: { cpu_index: 'u32', rip: 'u64', context_invalid: 'bool', injected: 'bool', resumed: 'bool' },
  },
  kvm_internal_error: {
    about: 'KVM gave up on the guest: KVM_INTERNAL_ERROR_* in linux/kvm.h. Ours.',
    args: { cpu_index: 'u32', suberror: 'u32' },
  },
} as const
