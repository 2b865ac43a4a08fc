//! Counts output of the guest that the host could not write, and reports it.

use kvm_accel::{Event, EventSink, Warning, WarningCode};
use rustix::io::Errno;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Minimum time between two reports of one output.
const PERIOD: Duration = Duration::from_secs(1);

/// The destination of an output, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The caller reads the output, or discards it. The caller knows when it stops reading: nothing is reported.
    Caller,
    /// This process's standard output.
    Stdout,
    /// Any other place, such as `'guest.log'`.
    Named(String),
}

/// The lost output of one port.
pub struct LostOutput {
    place: Place,
    /// The port's name and the receiver of reports; `None` before the port is on a board.
    report: Option<(String, Arc<dyn EventSink>)>,
    /// Bytes that no report includes yet.
    unreported: u64,
    /// Bytes since the start.
    total: u64,
    error: Errno,
    last: Option<Instant>,
}

impl LostOutput {
    pub const fn new(place: Place) -> Self {
        Self { place, report: None, unreported: 0, total: 0, error: Errno::PIPE, last: None }
    }

    /// Reports to `sink` from now on. `port` is the name of the port, such as `COM1`.
    pub fn report_to(&mut self, port: String, sink: Arc<dyn EventSink>) {
        self.report = Some((port, sink));
    }

    /// Records `bytes` that were lost by `error`. Reports the first loss at once, and later ones at most once a second.
    pub fn note(&mut self, bytes: usize, error: Errno) {
        self.error = error;
        self.note_more(bytes);
    }

    /// Records more bytes that were lost by the previous error.
    pub fn note_more(&mut self, bytes: usize) {
        if self.place == Place::Caller {
            return;
        }
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.unreported = self.unreported.saturating_add(bytes);
        self.total = self.total.saturating_add(bytes);
        let now = Instant::now();
        if self.last.is_none_or(|last| now.saturating_duration_since(last) >= PERIOD) {
            self.last = Some(now);
            self.finish();
        }
    }

    /// Reports the bytes that no report includes yet. Called when the machine ends.
    pub fn finish(&mut self) {
        let Some((port, sink)) = self.report.as_ref().filter(|_| self.unreported > 0) else { return };
        let lost = std::mem::take(&mut self.unreported);
        let closed = is_closed(self.error);
        let place = match &self.place {
            Place::Caller => return,
            Place::Stdout => "standard output",
            Place::Named(name) => name,
        };
        let why = if closed { "its reader has closed it".into() } else { io::Error::from(self.error).to_string() };
        let (s, total) = (if lost == 1 { "" } else { "s" }, self.total);
        let message = format!("{port} has lost {lost} byte{s} of output ({total} in all) to {place}: {why}");
        let code = match &self.place {
            Place::Stdout if closed => WarningCode::StdoutClosed,
            _ => WarningCode::OutputLost,
        };
        sink.emit(Event::Warning(Warning { code, message }));
    }
}

/// True if no later write to this output can succeed.
pub const fn is_closed(error: Errno) -> bool {
    matches!(error, Errno::PIPE | Errno::CONNRESET | Errno::CONNABORTED | Errno::NOTCONN | Errno::SHUTDOWN)
}

impl std::fmt::Debug for LostOutput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LostOutput").field("place", &self.place).field("total", &self.total).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Warnings(Mutex<Vec<(WarningCode, String)>>);

    impl EventSink for Warnings {
        fn emit(&self, event: Event) {
            if let Event::Warning(Warning { code, message }) = event {
                self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((code, message));
            }
        }
    }

    impl Warnings {
        fn take(&self) -> Vec<(WarningCode, String)> {
            std::mem::take(&mut self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
        }
    }

    #[test]
    fn test_the_first_loss_is_reported_at_once_and_the_rest_as_a_number() {
        let warnings = Arc::new(Warnings::default());
        let mut lost = LostOutput::new(Place::Named("'guest.log'".into()));
        lost.report_to("COM1".into(), Arc::clone(&warnings) as _);
        lost.finish();
        lost.note(1, Errno::NOSPC);
        let message = "COM1 has lost 1 byte of output (1 in all) to 'guest.log': No space left on device (os error 28)";
        assert_eq!(warnings.take(), [(WarningCode::OutputLost, message.into())]);
        lost.last = Instant::now().checked_add(PERIOD);
        (0..1000).for_each(|_| lost.note(2, Errno::NOSPC));
        assert_eq!(warnings.take(), []);
        lost.finish();
        lost.finish();
        let [(_, message)] = &warnings.take()[..] else { unreachable!() };
        assert!(message.starts_with("COM1 has lost 2000 bytes of output (2001 in all) to 'guest.log': "), "{message}");
    }

    #[test]
    fn test_a_closed_standard_output_has_a_code_of_its_own_and_a_stream_of_the_caller_is_not_reported() {
        for (place, expected) in [
            (Place::Stdout, vec![WarningCode::StdoutClosed]),
            (Place::Named("'fifo'".into()), vec![WarningCode::OutputLost]),
            (Place::Caller, vec![]),
        ] {
            let warnings = Arc::new(Warnings::default());
            let mut lost = LostOutput::new(place);
            lost.report_to("COM1".into(), Arc::clone(&warnings) as _);
            lost.note(3, Errno::PIPE);
            let codes: Vec<_> = warnings.take().into_iter().map(|(code, _)| code).collect();
            assert_eq!(codes, expected);
        }
    }
}
