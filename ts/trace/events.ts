// Written from crates/kvm/src/trace/events.rs by UPDATE_DOCS=1 cargo test -p kvm-accel-binding; the same test compares.

/** Every trace event: when it happens, and its arguments with their types, in the accelerator's order. */
export const traceEvents = {
  kvm_ioctl: {
    about: 'An ioctl on the system fd. QEMU shows the address of its argument, kvm-accel its name.',
    args: { type: 'u32', name: 'text' },
  },
  kvm_vm_ioctl: {
    about: 'An ioctl on the VM fd.',
    args: { type: 'u32', name: 'text' },
  },
  kvm_vcpu_ioctl: {
    about: 'An ioctl on a vCPU fd. The event of KVM_RUN is emitted before the guest is entered.',
    args: { cpu_index: 'u32', type: 'u32', name: 'text' },
  },
  kvm_run_exit: {
    about: 'KVM_RUN returned with an exit: KVM_EXIT_* in linux/kvm.h.',
    args: { cpu_index: 'u32', reason: 'u32' },
  },
  kvm_io_window_exit: {
    about: 'A kick or another signal interrupted KVM_RUN.',
    args: {},
  },
  kvm_run_exit_system_event: {
    about: "A system event of the guest's firmware interface: KVM_SYSTEM_EVENT_* in linux/kvm.h.",
    args: { cpu_index: 'u32', event_type: 'u32' },
  },
  kvm_memory_fault: {
    about: 'The guest accessed memory that the host cannot supply: KVM_MEMORY_EXIT_FLAG_* in linux/kvm.h.',
    args: { start: 'u64', size: 'u64', flags: 'u64' },
  },
  kvm_cpu_exec: {
    about: 'A vCPU thread starts to run the guest.',
    args: {},
  },
  kvm_interrupt_exit_request: {
    about: 'A vCPU thread has received a request to leave the guest.',
    args: {},
  },
  kvm_init_vcpu: {
    about: 'The set-up of a vCPU begins.',
    args: { cpu_index: 'u32', arch_cpu_id: 'u32' },
  },
  kvm_create_vcpu: {
    about: 'A vCPU has been created.',
    args: { cpu_index: 'u32', arch_cpu_id: 'u32', kvm_fd: 'i32' },
  },
  kvm_destroy_vcpu: {
    about: 'A vCPU thread ends and destroys the vCPU.',
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
    about: 'The GSI routing table is passed to the kernel.',
    args: {},
  },
  kvm_irqchip_add_msi_route: {
    about: 'A GSI was assigned to a message. QEMU shows the device and its vector, kvm-accel the message.',
    args: { address: 'u64', data: 'u32', virq: 'u32' },
  },
  kvm_irqchip_update_msi_route: {
    about: 'The message of a GSI was replaced.',
    args: { virq: 'u32' },
  },
  kvm_irqchip_release_virq: {
    about: 'A GSI and its routes were released.',
    args: { virq: 'u32' },
  },
  kvm_resample_fd_notify: {
    about:
      'The guest has acknowledged a level-triggered GSI of an IOAPIC outside the kernel, and its resample eventfd is signalled.',
    args: { gsi: 'u32' },
  },
  kvm_clear_dirty_log: {
    about: 'The dirty bits of a range of pages of a slot were cleared.',
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
    about: 'The state of the thread that harvests the dirty rings.',
    args: { s: 'text' },
  },
  kvm_dirty_ring_reap: {
    about: 'All dirty rings were harvested: the number of pages and the duration in microseconds.',
    args: { count: 'u64', t: 'u64' },
  },
  kvm_dirty_ring_flush: {
    about: 'The dirty rings are emptied completely: 0 at the beginning, 1 at the end.',
    args: { finished: 'u32' },
  },
  kvm_set_ioeventfd_mmio: {
    about: 'An ioeventfd for an address was assigned or deassigned.',
    args: { fd: 'i32', addr: 'u64', val: 'u64', assign: 'bool', size: 'u32', datamatch: 'bool' },
  },
  kvm_set_ioeventfd_pio: {
    about: 'An ioeventfd for a port was assigned or deassigned.',
    args: { fd: 'i32', addr: 'u16', val: 'u64', assign: 'bool', size: 'u32', datamatch: 'bool' },
  },
  kvm_notify: {
    about: 'A notify VM exit, real or injected, and whether the vCPU was resumed. QEMU lacks this event.',
    args: { cpu_index: 'u32', rip: 'u64', context_invalid: 'bool', injected: 'bool', resumed: 'bool' },
  },
  kvm_internal_error: {
    about: 'KVM cannot continue the guest: KVM_INTERNAL_ERROR_* in linux/kvm.h. QEMU lacks this event.',
    args: { cpu_index: 'u32', suberror: 'u32' },
  },
} as const
