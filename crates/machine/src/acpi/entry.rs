//! Entries of platform devices in the ACPI tables.

/// The identifier that drivers match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HardwareId {
    /// A compressed EISA identifier: three letters and four hexadecimal digits.
    Eisa(&'static str),
    /// An identifier of the ACPI registry, as a string.
    Acpi(&'static str),
}

impl HardwareId {
    /// The CMOS clock. The FADT also declares whether it exists.
    pub const RTC: Self = Self::Eisa("PNP0B00");
    /// A serial port. The BIOS data area also lists its address.
    pub const SERIAL_PORT: Self = Self::Eisa("PNP0501");
}

/// The entry of a platform device in the DSDT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlatformEntry {
    /// The name in the namespace: four characters, or three that are followed by the number of the device among those
    /// of this name, from 1 on.
    pub name: &'static str,
    /// The hardware identifier.
    pub id: HardwareId,
    /// The first port and the number of ports.
    pub ports: (u16, u8),
    /// The interrupt line, edge-triggered.
    pub line: Option<u8>,
}

impl PlatformEntry {
    /// Returns the name and `_UID` of this entry. `before` holds the entries that precede it.
    pub(super) fn name_and_unit(&self, before: &[Self]) -> (String, u8) {
        if self.name.len() == 4 {
            return (self.name.to_owned(), 0);
        }
        let same = before.iter().filter(|other| other.name == self.name).count();
        let unit = u8::try_from(same + 1).unwrap_or(u8::MAX);
        (format!("{}{unit}", self.name), unit)
    }
}
