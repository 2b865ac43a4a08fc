//! SIGBUS on guest memory: a file that was truncated, huge pages that ran out, a host page that failed.
//!
//! The handler notes the loss, interrupts the machine's first vCPU, which stops the machine before it enters the guest again, and maps
//! an empty page over the lost one, so that whoever touched it goes on. A signal for any other address goes to whoever
//! handled it before; by default the process ends.
//!
//! Everything the handler uses is lock-free: guarded ranges are a list that only grows, whose places are used again, and whoever
//! takes a range away waits until no handler looks at its place.

use super::run_page::ImmediateExit;
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use vmm_sys_util::errno;
use vmm_sys_util::signal::SIGRTMIN;

/// What a lost page was lost by, from the signal's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LossCause {
    /// BUS_ADRERR: nothing is behind the mapping any more.
    Gone,
    /// BUS_MCEERR_AR, BUS_MCEERR_AO: the host's memory failed.
    Hardware,
}

/// What one machine's ranges have in common: the first loss, and who is to be interrupted.
#[derive(Debug, Default)]
pub struct Watch {
    /// The page's address, with [`HARDWARE`] in its low bits; 0 while nothing is lost.
    lost: AtomicU64,
    /// `kvm_run.immediate_exit` of the vCPU to interrupt.
    exit: AtomicPtr<u8>,
    thread: AtomicI32,
    /// Handlers that use `exit`.
    users: AtomicUsize,
}

const HARDWARE: u64 = 1;

impl Watch {
    /// The first page that was lost: its address in this process.
    pub fn lost(&self) -> Option<(u64, LossCause)> {
        match self.lost.load(SeqCst) {
            0 => None,
            lost if lost & HARDWARE == 0 => Some((lost, LossCause::Gone)),
            lost => Some((lost & !HARDWARE, LossCause::Hardware)),
        }
    }

    /// Called by the vCPU's thread: interrupt me. The guard must be dropped before the vCPU's pages are unmapped.
    pub fn interrupt(self: &Arc<Self>, exit: ImmediateExit) -> Interrupt {
        // SAFETY: gettid has no preconditions.
        self.thread.store(unsafe { libc::gettid() }, SeqCst);
        self.exit.store(exit.as_ptr(), SeqCst);
        Interrupt { watch: Arc::clone(self), _exit: exit }
    }

    /// The first loss wins, and the vCPU looks at it. Callable in a signal handler.
    pub fn record(&self, page: usize, cause: LossCause) {
        let lost = page as u64 | if cause == LossCause::Hardware { HARDWARE } else { 0 };
        let _ = self.lost.compare_exchange(0, lost, SeqCst, SeqCst);
        self.users.fetch_add(1, SeqCst);
        let exit = self.exit.load(SeqCst);
        if !exit.is_null() {
            // SAFETY: the byte stays mapped while `users` is not 0: `Interrupt` waits for that.
            unsafe { AtomicU8::from_ptr(exit) }.store(1, SeqCst);
            // SAFETY: a signal with an installed handler cannot harm a thread of this process.
            unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), self.thread.load(SeqCst), SIGRTMIN()) };
        }
        self.users.fetch_sub(1, SeqCst);
    }
}

/// While it lives, a loss interrupts the vCPU of the thread that made it.
#[derive(Debug)]
pub struct Interrupt {
    watch: Arc<Watch>,
    _exit: ImmediateExit,
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.watch.exit.store(null_mut(), SeqCst);
        while self.watch.users.load(SeqCst) != 0 {
            std::thread::yield_now();
        }
    }
}

/// A place in the list of guarded ranges.
struct Place {
    next: Option<&'static Place>,
    taken: AtomicBool,
    /// Written last when a range comes and first when it goes; [`NOWHERE`] while there is none.
    start: AtomicUsize,
    end: AtomicUsize,
    /// Bytes, a power of two.
    page: AtomicUsize,
    watch: AtomicPtr<Watch>,
    /// Handlers that look at this place.
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

/// A guarded range of this process's memory. To be dropped before the range is unmapped.
pub struct Guard {
    place: &'static Place,
    _watch: Arc<Watch>,
}

impl Guard {
    /// Guards `range`, which consists of pages of `page` bytes, a power of two.
    ///
    /// # Errors
    /// When the handler cannot be installed.
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
    let _adding = ADDING.lock().unwrap_or_else(PoisonError::into_inner);
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

/// In a signal handler: puts an empty page where `address` is, if that is guest memory.
fn repair(address: usize, cause: LossCause) -> bool {
    let mut repaired = false;
    for place in places() {
        place.users.fetch_add(1, SeqCst);
        let start = place.start.load(SeqCst);
        if (start..place.end.load(SeqCst)).contains(&address) {
            let page = place.page.load(SeqCst);
            let base = address & !(page - 1);
            // First: nobody sees the empty page before the loss is known.
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

/// Who handled SIGBUS before; written once, before our handler is installed.
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

/// Hands the signal to whoever had it before.
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
        // The default action: a bad access happens again when this returns, anything else is raised again.
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

/// Installs the handler, once per process and for good.
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
