//! `tapdoor aliro`: keys, readers, credentials, certificates.

use std::fs;
use std::path::Path;

use serde_json::json;
use tapdoor_protocol::aliro::certificate::{Certificate, CertificateFields};
use tapdoor_protocol::aliro::reader::Placement;
use tapdoor_workbench::aliro::files;
use tapdoor_workbench::aliro::{AliroError, CredentialPlan, KeyFile, KeyFormat, ReaderPlan};
use zeroize::Zeroizing;

use super::Outcome;
use crate::args::{
    AliroArgs, AliroCommand, AliroReaderArgs, CertificateArgs, ConvertKeyArgs, CredentialArgs, DecodeArgs, FieldArgs, Format, KeyArgs,
    Place,
};
use crate::failure::{DEVICE, DONE, Failure, INPUT, REFUSED, USAGE};
use crate::out::{Out, event};

impl From<AliroError> for Failure {
    fn from(error: AliroError) -> Self {
        let code = match &error {
            AliroError::Config(_) | AliroError::State { .. } | AliroError::Certificate(_) => USAGE,
            AliroError::Key(_) => INPUT,
            AliroError::Io { source, .. } if source.kind() == std::io::ErrorKind::AlreadyExists => USAGE,
            AliroError::Io { .. } | AliroError::Random(_) => DEVICE,
        };
        Self::new(code, error)
    }
}

/// Runs the command.
pub fn run(args: &AliroArgs, out: &mut Out) -> Outcome {
    match &args.command {
        AliroCommand::Key(a) => key(a, out),
        AliroCommand::Convert(a) => convert(a, out),
        AliroCommand::Reader(a) => reader(a, out),
        AliroCommand::Credential(a) => credential(a, out),
        AliroCommand::Certificate(a) => certificate(a, out),
        AliroCommand::Decode(a) => decode(a, out),
    }
}

fn load(path: &Path) -> Result<KeyFile, Failure> {
    let input = |e: &dyn std::fmt::Display| Failure::new(INPUT, format!("{}: {e}", path.display()));
    let text = Zeroizing::new(fs::read_to_string(path).map_err(|e| input(&e))?);
    KeyFile::parse(&text).map_err(|e| input(&e))
}

fn format(path: &Path, asked: Option<Format>) -> KeyFormat {
    match (asked, path.extension().and_then(|e| e.to_str())) {
        (Some(Format::Jwk), _) | (None, Some("jwk" | "json")) => KeyFormat::Jwk,
        (Some(Format::Hex), _) | (None, Some("hex" | "txt")) => KeyFormat::Hex,
        _ => KeyFormat::Pem,
    }
}

fn hexadecimal(what: &str, text: &str) -> Result<Vec<u8>, Failure> {
    hex::decode(text).map_err(|_| Failure::new(USAGE, format!("--{what} {text}: must be hexadecimal digits")))
}

fn identifier(what: &str, text: Option<&String>) -> Result<Option<[u8; 16]>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let bytes = hexadecimal(what, text)?;
    let bytes = bytes.as_slice().try_into();
    bytes
        .map(Some)
        .map_err(|_| Failure::new(USAGE, format!("--{what} {text}: must have 32 hexadecimal digits")))
}

fn fields(args: &FieldArgs) -> Result<CertificateFields, Failure> {
    let mut fields = CertificateFields::default();
    if let Some(serial) = &args.serial {
        fields.serial = hexadecimal("serial", serial)?;
    }
    let texts = [
        (&args.issuer_name, &mut fields.issuer),
        (&args.subject, &mut fields.subject),
        (&args.not_before, &mut fields.not_before),
        (&args.not_after, &mut fields.not_after),
    ];
    for (text, place) in texts {
        if let Some(text) = text {
            *place = text.clone().into_bytes();
        }
    }
    Ok(fields)
}

fn told(name: &str, key: &KeyFile, path: &Path, out: &mut Out) -> Outcome {
    let (public, slot) = (hex::encode(key.public.0), hex::encode(key.public.slot().0));
    let value = json!({"file": path.display().to_string(), "private": key.is_private(), "public-key": public, "key-slot": slot});
    out.event(&event(name, value), || {
        format!("{}\npublic key {public}\nkey slot   {slot}", path.display())
    })?;
    Ok(DONE)
}

fn key(args: &KeyArgs, out: &mut Out) -> Outcome {
    let key = files::new_key()?;
    files::create(&args.out, key.text(format(&args.out, None), false).as_bytes())?;
    told("key", &key, &args.out, out)
}

fn convert(args: &ConvertKeyArgs, out: &mut Out) -> Outcome {
    let mut key = load(&args.from)?;
    if args.public {
        key = KeyFile::from_public(key.public);
    }
    files::create(&args.to, key.text(format(&args.to, args.format), false).as_bytes())?;
    told("key", &key, &args.to, out)
}

fn reader(args: &AliroReaderArgs, out: &mut Out) -> Outcome {
    let placement = args.certificate_in.map(|place| match place {
        Place::LoadCert => Placement::LoadCert,
        Place::Auth1 => Placement::Auth1,
    });
    let plan = ReaderPlan {
        group: identifier("group", args.group.as_ref())?,
        sub: identifier("sub", args.sub.as_ref())?,
        key: args.key.as_deref().map(load).transpose()?,
        issuer: match &args.issuer {
            Some(path) => Some((load(path)?, fields(&args.fields)?, placement)),
            None => None,
        },
    };
    let made = files::add_reader(&args.lock, plan)?;
    let (group, sub) = made.identifier.0.split_at(16);
    let (group, sub, key) = (hex::encode(group), hex::encode(sub), hex::encode(made.group_key.0));
    let value = json!({"file": args.lock.display().to_string(), "group": group, "sub": sub, "group-key": key, "certificate": made.certificate.is_some()});
    out.event(&event("reader", value), || {
        format!(
            "{}: an Aliro reader\nreader group identifier {group}\nsub identifier          {sub}\ngroup identifier key    {key}\n\nNext: \
             tapdoor aliro credential --lock {} --phone phone.toml; then add \"aliro\" to `methods`, or use --method aliro",
            args.lock.display(),
            args.lock.display()
        )
    })?;
    Ok(DONE)
}

fn credential(args: &CredentialArgs, out: &mut Out) -> Outcome {
    let plan = CredentialPlan {
        key: args.key.as_deref().map(load).transpose()?,
        name: args.name.clone(),
        not_after: args.until.clone(),
        mailbox: args.mailbox,
    };
    let public = files::add_credential(args.lock.as_deref(), args.phone.as_deref(), plan)?;
    let (key, slot) = (hex::encode(public.0), hex::encode(public.slot().0));
    let value = json!({"public-key": key, "key-slot": slot});
    out.event(&event("credential", value), || {
        format!("credential\npublic key {key}\nkey slot   {slot}")
    })?;
    Ok(DONE)
}

fn certificate(args: &CertificateArgs, out: &mut Out) -> Outcome {
    let (key, issuer) = (load(&args.key)?, load(&args.issuer)?);
    let made = files::certificate(fields(&args.fields)?, &key.public, &issuer)?;
    let bytes = if args.x509 { made.to_x509(&issuer.public) } else { made.encode() };
    if let Some(path) = &args.out {
        files::create(path, &bytes)?;
    }
    let digits = hex::encode(&bytes);
    let value = json!({"certificate": digits, "form": if args.x509 { "x509" } else { "profile0000" }});
    out.event(&event("certificate", value), || digits.clone())?;
    Ok(DONE)
}

fn decode(args: &DecodeArgs, out: &mut Out) -> Outcome {
    let input = |e: &dyn std::fmt::Display| Failure::new(INPUT, format!("{}: {e}", args.file.display()));
    let bytes = fs::read(&args.file).map_err(|e| input(&e))?;
    let text = std::str::from_utf8(&bytes).ok().map(str::trim);
    let bytes = text.and_then(|text| hex::decode(text).ok()).unwrap_or(bytes);
    let (form, certificate) = match Certificate::parse(&bytes) {
        Ok(certificate) => ("profile0000", certificate),
        Err(error) => ("x509", Certificate::from_x509(&bytes).map_err(|_| input(&error))?),
    };
    let verified = args
        .issuer
        .as_deref()
        .map(load)
        .transpose()?
        .map(|issuer| certificate.is_signed_by(&issuer.public));
    let f = &certificate.fields;
    let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let value = json!({
        "form": form,
        "serial": hex::encode(&f.serial),
        "issuer": words(&f.issuer),
        "not-before": words(&f.not_before),
        "not-after": words(&f.not_after),
        "subject": words(&f.subject),
        "public-key": hex::encode(certificate.key.0),
        "verified": verified,
    });
    out.event(&event("certificate", value), || {
        let verdict = match verified {
            Some(true) => "\nsigned by this issuer",
            Some(false) => "\nNOT signed by this issuer",
            None => "",
        };
        format!(
            "{form}\nserial     {}\nissuer     {}\nvalid      {} to {}\nsubject    {}\npublic key {}{verdict}",
            hex::encode(&f.serial),
            words(&f.issuer),
            words(&f.not_before),
            words(&f.not_after),
            words(&f.subject),
            hex::encode(certificate.key.0)
        )
    })?;
    Ok(if verified == Some(false) { REFUSED } else { DONE })
}
