//! The kernel's statistics. The descriptions cross once, as objects. The values cross at each call, as one array of numbers.

use super::handle::BindingMachine;
use crate::error::{self, BindingError};
use kvm_accel::stats::{Readings, StatDescriptor, StatKind, StatsSchema};
use napi::bindgen_prelude::{Either, Float64Array};
use napi_derive::napi;

/// The description of one statistic.
#[napi(object, object_from_js = false)]
pub struct BindingStatistic {
    /// The kernel's name.
    pub name: String,
    /// `cumulative`, `instant`, `peak`, `linear-histogram` or `log2-histogram`.
    pub kind: String,
    /// `bytes`, `seconds`, `cycles` or `boolean`.
    pub unit: Option<String>,
    /// 10 or 2.
    pub base: u32,
    /// The exponent of `base`: a value counts units of `base` to this power.
    pub exponent: i32,
    /// Width of the buckets of a linear histogram.
    pub bucket_size: Option<u32>,
    /// The lower bounds of the buckets of a histogram; empty for a single value.
    pub bounds: Vec<f64>,
}

/// The statistics of a VM and those of a vCPU.
#[napi(object, object_from_js = false)]
pub struct BindingStatisticsSchema {
    pub vm: Vec<BindingStatistic>,
    pub vcpu: Vec<BindingStatistic>,
}

/// Converts a counter to a JavaScript number: exact up to 2^53 (104 days in nanoseconds), rounded above.
#[allow(clippy::cast_precision_loss, reason = "a counter above 2^53 loses only its last digits")]
const fn number(value: u64) -> f64 {
    value as f64
}

impl From<&StatDescriptor> for BindingStatistic {
    fn from(descriptor: &StatDescriptor) -> Self {
        let StatDescriptor { name, kind, unit, base, exponent, size, .. } = descriptor;
        let bounds = (0..*size).map_while(|index| kind.bucket_bounds(index, *size)).map(|(from, _)| number(from));
        Self {
            name: name.clone(),
            kind: kind.as_str().into(),
            unit: unit.as_str().map(Into::into),
            base: base.as_u32(),
            exponent: (*exponent).into(),
            bucket_size: match kind {
                StatKind::LinearHistogram { bucket_size } => Some(*bucket_size),
                _ => None,
            },
            bounds: bounds.collect(),
        }
    }
}

fn statistics(schema: &StatsSchema) -> Vec<BindingStatistic> {
    schema.descriptors.iter().map(BindingStatistic::from).collect()
}

#[napi]
impl BindingMachine {
    /// Returns the descriptions, which are equal for all machines of a process. Returns nothing if the machine is closed.
    #[napi]
    pub fn statistics_schema(&self) -> Option<Either<BindingStatisticsSchema, BindingError>> {
        let mut targets = Vec::new();
        Some(match self.read(|readings| targets.push(readings.schema()))? {
            Ok(()) => {
                let of = |target: usize| targets.get(target).map(|schema| statistics(schema)).unwrap_or_default();
                Either::A(BindingStatisticsSchema { vm: of(0), vcpu: of(1) })
            }
            Err(why) => Either::B(error::json(why)),
        })
    }

    /// Returns the current values: those of the VM, then those of each vCPU, in the order of the descriptions. Returns nothing if the
    /// machine is closed.
    #[napi]
    pub fn statistics_values(&self) -> Option<Either<Float64Array, BindingError>> {
        let mut values = Vec::new();
        Some(match self.read(|readings| values.extend(readings.values().map(number)))? {
            Ok(()) => Either::A(values.into()),
            Err(why) => Either::B(error::json(why)),
        })
    }

    fn read(&self, each: impl FnMut(Readings<'_>)) -> Option<kvm_accel::Result<()>> {
        self.machine.direct().statistics(|statistics| statistics.read(each))
    }
}
