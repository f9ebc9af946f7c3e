//! Update masks.

use nic_proto::v1::ErrorReason;
use pbjson_types::FieldMask;

use super::collection::Field;
use crate::failure::{Failure, Fault};

/// The fields of a spec that a mask names, where `all` are those there are; without a mask, and for
/// `spec` or `*`, all.
pub(super) fn each_field<S>(mask: Option<&FieldMask>, all: &[Field<S>]) -> Result<Vec<Field<S>>, Failure> {
    let Some(mask) = mask.filter(|mask| !mask.paths.is_empty()) else {
        return Ok(all.to_vec());
    };
    let (mut fields, mut faults) = (Vec::new(), Vec::new());
    for (index, path) in mask.paths.iter().enumerate() {
        let named = path.strip_prefix("spec.").and_then(|name| all.iter().find(|field| field.0 == name));
        match (path.as_str(), named) {
            ("spec" | "*", _) => fields.extend_from_slice(all),
            (_, Some(field)) => fields.push(*field),
            (_, None) => {
                let names: Vec<&str> = all.iter().map(|field| field.0).collect();
                let text = format!("{path:?} is no field of the spec; there are {}", names.join(", "));
                let field = format!("updateMask.paths[{index}]");
                faults.push(Fault::argument(ErrorReason::UpdateMaskInvalid, field, text));
            }
        }
    }
    if faults.is_empty() { Ok(fields) } else { Err(Failure::many(faults)) }
}
