//! A result, as a table, as JSON or as YAML.

use std::io::Write;

use serde::Serialize;

use crate::arguments::Output;
use crate::failure::Failure;

/// Writes a result in the chosen form.
pub(crate) fn write<T: Serialize>(
    out: &mut dyn Write,
    output: Output,
    value: &T,
    table: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    match output {
        Output::Table => out.write_all(table(value).as_bytes())?,
        Output::Json => json(out, value)?,
        Output::Yaml => out.write_all(yaml(value)?.as_bytes())?,
    }
    Ok(())
}

/// Writes resources. As JSON they are a list, or one object when `single`; as YAML one document each.
pub(crate) fn write_documents<T: Serialize>(
    out: &mut dyn Write,
    output: Output,
    documents: &[T],
    single: bool,
    table: impl FnOnce(&[T]) -> String,
) -> Result<(), Failure> {
    match (output, documents) {
        (Output::Table, _) => out.write_all(table(documents).as_bytes())?,
        (Output::Json, [document]) if single => json(out, document)?,
        (Output::Json, _) => json(out, &documents)?,
        (Output::Yaml, _) => {
            for document in documents {
                write!(out, "---\n{}", yaml(document)?)?;
            }
        }
    }
    Ok(())
}

fn json<T: Serialize>(out: &mut dyn Write, value: &T) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::Encode(error.into()))?;
    writeln!(out, "{text}")?;
    Ok(())
}

fn yaml<T: Serialize>(value: &T) -> Result<String, Failure> {
    serde_saphyr::to_string(value).map_err(|error| Failure::Encode(error.into()))
}
