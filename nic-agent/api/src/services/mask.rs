//! Update masks.

use nic_proto::v1::ErrorReason;
use pbjson_types::FieldMask;

use crate::failure::{Failure, Fault};

/// Calls `set` with the name of every field of the spec that a mask names, where `all` are the names
/// there are; without a mask, and for `spec` or `*`, with every name.
pub(crate) fn each_field(
    mask: Option<&FieldMask>,
    all: &[&'static str],
    mut set: impl FnMut(&'static str),
) -> Result<(), Failure> {
    let Some(mask) = mask.filter(|mask| !mask.paths.is_empty()) else {
        all.iter().copied().for_each(set);
        return Ok(());
    };
    let mut faults = Vec::new();
    for (index, path) in mask.paths.iter().enumerate() {
        let named = path.strip_prefix("spec.").and_then(|name| all.iter().find(|field| **field == name));
        match (path.as_str(), named) {
            ("spec" | "*", _) => all.iter().copied().for_each(&mut set),
            (_, Some(name)) => set(name),
            (_, None) => {
                let text = format!("{path:?} is no field of the spec; there are {}", all.join(", "));
                let field = format!("updateMask.paths[{index}]");
                faults.push(Fault::argument(ErrorReason::UpdateMaskInvalid, field, text));
            }
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(Failure::many(faults)) }
}
