//! Passes trace records to JavaScript as packed numbers. JavaScript unpacks them with its own copy of the table of events.

use kvm_accel::trace::{Arg, Filter, Record, Trace, TraceSession};
use napi::bindgen_prelude::BigUint64Array;
use napi_derive::napi;

/// The trace session of one reader.
#[napi]
pub struct BindingTraceSession(Option<TraceSession>);

/// Records, packed one after another. A record is: index of the event, time, vCPU + 1 (0 for other threads), number of records dropped
/// directly before it, arguments. An argument that is a text is an index into `texts`.
#[napi(object, object_from_js = false)]
pub struct BindingTraceRecords {
    pub words: BigUint64Array,
    pub texts: Vec<String>,
    /// Number of records dropped since the session was opened.
    pub dropped: f64,
}

impl BindingTraceSession {
    /// Starts to record the events that match at least one of the globs.
    pub fn open(trace: &Trace, globs: &[String], limit: u32) -> Self {
        let filter = globs.iter().fold(Filter::default(), |set, glob| set.union(Filter::glob(glob)));
        trace.open(filter, usize::try_from(limit).unwrap_or(usize::MAX)).into()
    }
}

impl From<TraceSession> for BindingTraceSession {
    fn from(session: TraceSession) -> Self {
        Self(Some(session))
    }
}

fn pack(record: Record, words: &mut Vec<u64>, texts: &mut Vec<String>) {
    let vcpu = record.vcpu.map_or(0, |vcpu| u64::from(vcpu) + 1);
    words.extend([record.event.kind() as u64, record.time, vcpu, record.dropped]);
    words.extend(record.event.args().into_iter().map(|arg| match arg {
        Arg::Number(number) => number,
        Arg::Text(text) => {
            texts.push(text.into_owned());
            u64::try_from(texts.len() - 1).unwrap_or(0)
        }
    }));
}

#[napi]
impl BindingTraceSession {
    /// Returns all unread records. Returns none if the session is closed.
    #[napi]
    pub fn take(&self) -> BindingTraceRecords {
        let taken = self.0.as_ref().map(TraceSession::take).unwrap_or_default();
        let (mut words, mut texts) = (Vec::new(), Vec::new());
        for record in taken.records {
            pack(record, &mut words, &mut texts);
        }
        // A double is exact up to 2^53.
        #[allow(clippy::cast_precision_loss, reason = "see above")]
        let dropped = taken.dropped as f64;
        BindingTraceRecords { words: words.into(), texts, dropped }
    }

    /// Stops recording.
    #[napi]
    pub fn close(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use kvm_accel::trace::EVENTS;
    use std::fmt::Write;
    use std::path::Path;

    const WIDTH: usize = 120;

    fn quoted(text: &str) -> String {
        if text.contains('\'') { format!("\"{text}\"") } else { format!("'{text}'") }
    }

    /// Returns the text of `ts/trace/events.ts`, as prettier formats it.
    fn typescript() -> String {
        let mut text = String::from(
            "// Written from crates/kvm/src/trace/events.rs by UPDATE_DOCS=1 cargo test -p kvm-accel-binding; the same test compares.\n\n\
             /** Every trace event: when it happens, and its arguments with their types, in the accelerator's order. */\n\
             export const traceEvents = {\n",
        );
        for event in EVENTS {
            let about = quoted(event.about);
            let gap = if about.len() + "    about: ,".len() > WIDTH { "\n      " } else { " " };
            let args: Vec<_> = event.args.iter().map(|(name, of)| format!("{name}: '{}'", of.as_str())).collect();
            let line = if args.is_empty() { "{}".into() } else { format!("{{ {} }}", args.join(", ")) };
            let args = if line.len() + "    args: ,".len() > WIDTH {
                format!("{{\n      {},\n    }}", args.join(",\n      "))
            } else {
                line
            };
            writeln!(text, "  {}: {{\n    about:{gap}{about},\n    args: {args},\n  }},", event.name).unwrap();
        }
        text + "} as const\n"
    }

    #[test]
    fn test_typescript_has_the_same_table() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ts/trace/events.ts");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, typescript()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), typescript());
    }
}
