//! A walk over a module's sections, before anything else looks at it (WebAssembly Core 5.5.2): how much of everything there is.

use super::{Limits, SandboxError, abi};

/// What the walk found.
#[derive(Debug)]
pub(super) struct Sections<'a> {
    /// The custom section `tapdoor`.
    pub declaration: &'a [u8],
}

/// Walks over the sections and counts. Never panics.
pub(super) fn walk<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Sections<'a>, SandboxError> {
    let invalid = |what: &str| SandboxError::Invalid(what.into());
    let Some(mut rest) = bytes.strip_prefix(b"\0asm\x01\0\0\0") else {
        return Err(invalid("it does not begin with 00 \"asm\" and version 1"));
    };
    let mut declaration = None;
    while let Some((&id, after)) = rest.split_first() {
        let (length, after) = number(after).ok_or_else(|| invalid("a section's length is cut off"))?;
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let (body, after) = after.split_at_checked(length).ok_or_else(|| invalid("a section is cut off"))?;
        rest = after;
        if id == 0 {
            let (name, content) = custom(body).ok_or_else(|| invalid("a custom section without a name"))?;
            if name == abi::MODULE.as_bytes() && declaration.replace(content).is_some() {
                return Err(SandboxError::Declaration("is there twice"));
            }
            continue;
        }
        if id == 8 {
            return Err(SandboxError::Start);
        }
        let (what, limit) = match id {
            1 => ("types", 256),
            2 => ("imports", 64),
            3 => ("functions", limits.functions),
            4 => ("tables", 1),
            5 => ("memories", 1),
            6 => ("globals", limits.globals),
            7 => ("exports", 64),
            9 => ("element segments", 64),
            11 => ("data segments", 256),
            _ => continue,
        };
        let (got, _) = number(body).ok_or_else(|| invalid("a section without a count"))?;
        if got > limit {
            return Err(SandboxError::TooMany { what, got, limit });
        }
    }
    let declaration = declaration.ok_or(SandboxError::Declaration("is missing"))?;
    Ok(Sections { declaration })
}

/// An unsigned LEB128 of 32 bits, and what follows it.
fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let mut value = 0u64;
    for (n, &byte) in bytes.iter().enumerate().take(5) {
        value |= u64::from(byte & 0x7F) << (7 * n);
        if byte & 0x80 == 0 {
            return Some((u32::try_from(value).ok()?, bytes.get(n + 1..)?));
        }
    }
    None
}

/// Name and content of a custom section.
fn custom(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = number(body)?;
    rest.split_at_checked(usize::try_from(length).ok()?)
}
