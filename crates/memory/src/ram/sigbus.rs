//! Handles SIGBUS on guest memory: a truncated file, exhausted huge pages, or a failed host page.
//!
//! The handler records the loss, kicks every vCPU of the machine, and maps an empty page over the lost one. So the
//! thread that touched the page continues; it may be any thread. Each vCPU that runs, is halted or sleeps stops the
//! machine before it enters the guest again. A parked vCPU does so when it is resumed. A signal for any other address
//! goes to the handler that was installed before. Without one, the process ends.
//!
//! Everything that the handler uses is lock-free. Guarded ranges are a list that only grows and whose entries are
//! reused. A thread that removes a range waits until no handler uses its entry.

use kvm_accel_kvm::lock;
use kvm_accel_kvm::run::kick::signal_now;
use kvm_accel_kvm::run::{Bell, ImmediateExit, Kick};
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use vmm_sys_util::errno;

/// The cause of the loss of a page, from the signal's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossCause {
    /// BUS_ADRERR: the mapping has no backing any more.
    Gone,
    /// BUS_MCEERR_AR, BUS_MCEERR_AO: the host's memory failed.
    Hardware,
}

/// State that the ranges of one machine share: the first loss, and the vCPUs to kick.
#[derive(Debug, Default)]
pub struct Watch {
    /// The page's address, with [`HARDWARE`] in its low bits. 0 while nothing is lost.
    lost: AtomicU64,
    vcpus: Seat,
    /// Number of threads that use a vCPU's [`Target`].
    users: AtomicUsize,
}

/// An element of a list that only grows. A signal handler can read it: neither `OnceLock::get` nor an atomic load takes
/// a lock.
#[derive(Debug, Default)]
struct Seat {
    /// Null while the seat is free.
    target: AtomicPtr<Target>,
    next: OnceLock<Box<Seat>>,
}

/// What a signal handler needs to kick a vCPU.
#[derive(Debug)]
struct Target {
    exit: ImmediateExit,
    bell: Arc<Bell>,
    thread: libc::pid_t,
}

const HARDWARE: u64 = 1;

impl Watch {
    /// Returns the first page that was lost: its address in this process, and the cause.
    pub fn lost(&self) -> Option<(u64, LossCause)> {
        match self.lost.load(SeqCst) {
            0 => None,
            lost if lost & HARDWARE == 0 => Some((lost, LossCause::Gone)),
            lost => Some((lost & !HARDWARE, LossCause::Hardware)),
        }
    }

    /// Registers the calling vCPU thread: a loss kicks its vCPU while the guard exists.
    pub fn interrupt(self: &Arc<Self>, kick: &Kick) -> Interrupt {
        // SAFETY: gettid has no preconditions.
        let thread = unsafe { libc::gettid() };
        let target =
            Box::into_raw(Box::new(Target { exit: kick.immediate_exit(), bell: Arc::clone(kick.bell()), thread }));
        let mut seat = &self.vcpus;
        while seat.target.compare_exchange(null_mut(), target, SeqCst, SeqCst).is_err() {
            seat = seat.next.get_or_init(Box::default);
        }
        Interrupt { watch: Arc::clone(self), target }
    }

    fn seats(&self) -> impl Iterator<Item = &Seat> {
        std::iter::successors(Some(&self.vcpus), |seat| seat.next.get().map(Box::as_ref))
    }

    /// Records a loss, of which only the first is kept, and kicks the vCPUs. Async-signal-safe.
    pub fn record(&self, page: usize, cause: LossCause) {
        let lost = page as u64 | if cause == LossCause::Hardware { HARDWARE } else { 0 };
        let _ = self.lost.compare_exchange(0, lost, SeqCst, SeqCst);
        self.users.fetch_add(1, SeqCst);
        for seat in self.seats() {
            // SAFETY: a target that is in a seat stays valid while `users` is not 0: `Interrupt` waits for that.
            if let Some(target) = unsafe { seat.target.load(SeqCst).as_ref() } {
                target.exit.set();
                target.bell.ring();
                // If the signal fails, the thread sees the loss at its next exit.
                let _ = signal_now(target.thread);
            }
        }
        self.users.fetch_sub(1, SeqCst);
    }
}

/// While this guard exists, a loss kicks the vCPU of the thread that created the guard.
#[derive(Debug)]
pub struct Interrupt {
    watch: Arc<Watch>,
    target: *mut Target,
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        for seat in self.watch.seats() {
            let _ = seat.target.compare_exchange(self.target, null_mut(), SeqCst, SeqCst);
        }
        while self.watch.users.load(SeqCst) != 0 {
            std::thread::yield_now();
        }
        // SAFETY: the pointer comes from `Box::into_raw`, no seat has it any more, and no thread uses it.
        drop(unsafe { Box::from_raw(self.target) });
    }
}

/// An entry in the list of guarded ranges.
struct Place {
    next: Option<&'static Place>,
    taken: AtomicBool,
    /// Written last when a range is added and first when it is removed. [`NOWHERE`] while the entry holds no range.
    start: AtomicUsize,
    end: AtomicUsize,
    /// Page size in bytes, a power of two.
    page: AtomicUsize,
    watch: AtomicPtr<Watch>,
    /// Number of handlers that use this entry.
    users: AtomicUsize,
}

const NOWHERE: usize = usize::MAX;

static PLACES: AtomicPtr<Place> = AtomicPtr::new(null_mut());

fn first() -> Option<&'static Place> {
    // SAFETY: places are leaked: a pointer from the list is null or valid for ever.
    unsafe { PLACES.load(SeqCst).as_ref() }
}

fn places() -> impl Iterator<Item = &'static Place> {
    std::iter::successors(first(), |place| place.next)
}

/// A guarded range of this process's memory. Drop it before the range is unmapped.
pub struct Guard {
    place: &'static Place,
    _watch: Arc<Watch>,
}

impl Guard {
    /// Guards `range`, which consists of pages of `page` bytes, a power of two.
    ///
    /// # Errors
    /// Installing the handler fails.
    pub fn new(range: Range<usize>, page: usize, watch: Arc<Watch>) -> Result<Self, errno::Error> {
        install()?;
        let place = places().find(|place| !place.taken.swap(true, SeqCst)).unwrap_or_else(add_place);
        place.end.store(range.end, SeqCst);
        place.page.store(page, SeqCst);
        place.watch.store(Arc::as_ptr(&watch).cast_mut(), SeqCst);
        place.start.store(range.start, SeqCst);
        Ok(Self { place, _watch: watch })
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Guard({:#x}..{:#x})", self.place.start.load(SeqCst), self.place.end.load(SeqCst))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.place.start.store(NOWHERE, SeqCst);
        // A handler that has seen the range may be about to map a page into it.
        while self.place.users.load(SeqCst) != 0 {
            std::thread::yield_now();
        }
        self.place.taken.store(false, SeqCst);
    }
}

fn add_place() -> &'static Place {
    static ADDING: Mutex<()> = Mutex::new(());
    let _adding = lock(&ADDING);
    let place = Box::leak(Box::new(Place {
        next: first(),
        taken: AtomicBool::new(true),
        start: AtomicUsize::new(NOWHERE),
        end: AtomicUsize::new(0),
        page: AtomicUsize::new(1),
        watch: AtomicPtr::new(null_mut()),
        users: AtomicUsize::new(0),
    }));
    PLACES.store(place, SeqCst);
    place
}

/// Maps an empty page at `address` if that is guest memory. Runs in a signal handler.
fn repair(address: usize, cause: LossCause) -> bool {
    let mut repaired = false;
    for place in places() {
        place.users.fetch_add(1, SeqCst);
        let start = place.start.load(SeqCst);
        if (start..place.end.load(SeqCst)).contains(&address) {
            let page = place.page.load(SeqCst);
            let base = address & !(page - 1);
            // The loss is recorded first, so that no thread sees the empty page before the loss is known.
            // SAFETY: a guarded range's watch lives until the guard has waited for `users`.
            if let Some(watch) = unsafe { place.watch.load(SeqCst).as_ref() } {
                watch.record(base, cause);
            }
            let flags = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            // SAFETY: the page lies in a range that stays guest memory while `users` is not 0, and its contents are lost already.
            let mapped =
                unsafe { libc::mmap(base as *mut c_void, page, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
            repaired = mapped != libc::MAP_FAILED;
        }
        place.users.fetch_sub(1, SeqCst);
        if repaired {
            break;
        }
    }
    repaired
}

/// The action for SIGBUS that our handler replaced. Written once, before our handler is installed.
static BEFORE: AtomicPtr<libc::sigaction> = AtomicPtr::new(null_mut());

const BUS_ADRERR: c_int = 2;
const BUS_MCEERR_AR: c_int = 4;
const BUS_MCEERR_AO: c_int = 5;

extern "C" fn handle(signal: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: errno is this thread's own.
    let errno = unsafe { *libc::__errno_location() };
    // SAFETY: the kernel passes a valid siginfo to a handler with SA_SIGINFO; SIGBUS from the kernel has an address.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    let repaired = match code {
        BUS_ADRERR => repair(address, LossCause::Gone),
        BUS_MCEERR_AR | BUS_MCEERR_AO => repair(address, LossCause::Hardware),
        _ => false,
    };
    if !repaired {
        chain(signal, code, info, context);
    }
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno };
}

/// Passes the signal to the handler that was installed before.
fn chain(signal: c_int, code: c_int, info: *mut libc::siginfo_t, context: *mut c_void) {
    // SAFETY: set before the handler was installed, never freed.
    let before = unsafe { BEFORE.load(SeqCst).as_ref() };
    match before {
        Some(before) if before.sa_sigaction == libc::SIG_IGN && code <= 0 => {}
        Some(before) if before.sa_sigaction != libc::SIG_DFL && before.sa_sigaction != libc::SIG_IGN => {
            if before.sa_flags & libc::SA_SIGINFO != 0 {
                type Action = extern "C" fn(c_int, *mut libc::siginfo_t, *mut c_void);
                // SAFETY: a handler that was registered with SA_SIGINFO has this type.
                let action = unsafe { std::mem::transmute::<libc::sighandler_t, Action>(before.sa_sigaction) };
                action(signal, info, context);
            } else {
                // SAFETY: a handler that was registered without SA_SIGINFO has this type.
                let action =
                    unsafe { std::mem::transmute::<libc::sighandler_t, extern "C" fn(c_int)>(before.sa_sigaction) };
                action(signal);
            }
        }
        // The default action: a bad access faults again when the handler returns; any other signal is raised again.
        _ => {
            // SAFETY: both calls are async-signal-safe and take plain values.
            unsafe {
                libc::signal(signal, libc::SIG_DFL);
                if code != BUS_ADRERR && code != BUS_MCEERR_AR {
                    libc::raise(signal);
                }
            }
        }
    }
}

/// Installs the handler, once per process and permanently.
fn install() -> Result<(), errno::Error> {
    static INSTALLED: OnceLock<Result<(), errno::Error>> = OnceLock::new();
    *INSTALLED.get_or_init(|| {
        // SAFETY: all zeros is a valid sigaction; the calls read and write only what they are given.
        unsafe {
            let mut before: libc::sigaction = std::mem::zeroed();
            if libc::sigaction(libc::SIGBUS, null(), &mut before) != 0 {
                return Err(errno::Error::last());
            }
            BEFORE.store(Box::leak(Box::new(before)), SeqCst);
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handle as *const () as libc::sighandler_t;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigemptyset(&mut action.sa_mask);
            match libc::sigaction(libc::SIGBUS, &action, null_mut()) {
                0 => Ok(()),
                _ => Err(errno::Error::last()),
            }
        }
    })
}
