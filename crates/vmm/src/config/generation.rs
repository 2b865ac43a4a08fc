//! The machine's generation, QEMU's `vmgenid`.

use kvm_accel_machine::MachineConfigError;

/// Digits of each field of a UUID.
const FIELDS: [usize; 5] = [8, 4, 4, 4, 12];

/// Returns the 16 bytes that the guest reads. The first three fields of the UUID are little-endian.
pub fn generation(uuid: &str) -> Result<[u8; 16], MachineConfigError> {
    bytes(uuid).ok_or_else(|| {
        let message = format!("invalid vmGenerationId '{uuid}': expected a UUID");
        MachineConfigError::new("vmGenerationId", message, "For example 324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87.")
    })
}

fn bytes(uuid: &str) -> Option<[u8; 16]> {
    let mut bytes = Vec::with_capacity(16);
    let fields: Vec<_> = uuid.split('-').collect();
    if !fields.iter().map(|field| field.len()).eq(FIELDS) {
        return None;
    }
    for (index, field) in fields.iter().enumerate() {
        let start = bytes.len();
        for pair in field.as_bytes().chunks(2) {
            let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            bytes.push(digit(*pair.first()?)? << 4 | digit(*pair.last()?)?);
        }
        if index < 3 {
            bytes.get_mut(start..)?.reverse();
        }
    }
    bytes.try_into().ok()
}
