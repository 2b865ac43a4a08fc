//! Platform devices as ACPI's tables describe them.

/// The identifier by which a driver knows a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HardwareId {
    /// A compressed EISA identifier: three letters and four hexadecimal digits.
    Eisa(&'static str),
    /// An identifier of the ACPI registry, as a string.
    Acpi(&'static str),
}

impl HardwareId {
    /// The CMOS clock. The FADT says whether it exists.
    pub const RTC: Self = Self::Eisa("PNP0B00");
}

/// The entry of a platform device in the DSDT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformEntry {
    /// The name in the namespace: four characters, or three that the number of the device among those of this name follows, from 1 on.
    pub name: &'static str,
    /// Its identifier.
    pub id: HardwareId,
    /// First port, number of ports.
    pub ports: (u16, u8),
    /// The interrupt line, edge-triggered.
    pub line: Option<u8>,
}

impl PlatformEntry {
    /// Returns the name and `_UID` of this entry. `before` are the entries before it.
    pub(super) fn name_and_unit(&self, before: &[Self]) -> (String, u8) {
        if self.name.len() == 4 {
            return (self.name.to_owned(), 0);
        }
        let same = before.iter().filter(|other| other.name == self.name).count();
        let unit = u8::try_from(same + 1).unwrap_or(u8::MAX);
        (format!("{}{unit}", self.name), unit)
    }
}
