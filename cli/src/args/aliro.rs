//! Arguments of `tapdoor aliro`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tapdoor aliro reader --lock site/lock.toml\n  tapdoor aliro credential --lock site/lock.toml --phone site/phone.toml\n  tapdoor aliro key --out issuer.pem\n  tapdoor aliro reader --lock site/lock.toml --key reader.pem --issuer issuer.pem --group 00112233445566778899aabbccddeeff\n  tapdoor aliro convert reader.jwk reader.pem\n  tapdoor aliro certificate --key reader.pem --issuer issuer.pem --out reader.crt --x509"
)]
pub struct AliroArgs {
    #[command(subcommand)]
    pub command: AliroCommand,
}

#[derive(Debug, Subcommand)]
pub enum AliroCommand {
    /// Make a P-256 key file
    Key(KeyArgs),
    /// Write a key file in another format: PEM, JWK or hexadecimal
    Convert(ConvertKeyArgs),
    /// Make a lock an Aliro reader: reader group, key, certificate
    Reader(AliroReaderArgs),
    /// Make a credential, or put one on a lock's list
    Credential(CredentialArgs),
    /// Issue a reader's certificate
    Certificate(CertificateArgs),
    /// Say what a certificate holds
    Decode(DecodeArgs),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Format {
    Pem,
    Jwk,
    Hex,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  tapdoor aliro key --out issuer.pem\n  tapdoor aliro key --out credential.jwk")]
pub struct KeyArgs {
    /// The new file; .jwk, .json and .hex are written as such, everything else as PEM
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tapdoor aliro convert reader.jwk reader.pem\n  tapdoor aliro convert reader.pem reader.pub.hex --public"
)]
pub struct ConvertKeyArgs {
    /// The key file; its format is recognised
    pub from: PathBuf,
    /// The new file
    pub to: PathBuf,
    /// Its format, where the file's name does not say it
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Only the public key
    #[arg(long)]
    pub public: bool,
}

/// Fields of a certificate.
#[derive(Args, Debug)]
pub struct FieldArgs {
    /// Serial number, hexadecimal
    #[arg(long, value_name = "HEX")]
    pub serial: Option<String>,
    /// Common name of the issuer
    #[arg(long, value_name = "NAME")]
    pub issuer_name: Option<String>,
    /// Common name of the reader
    #[arg(long, value_name = "NAME")]
    pub subject: Option<String>,
    /// From when it holds, as 260101000000Z
    #[arg(long, value_name = "TIME")]
    pub not_before: Option<String>,
    /// Until when it holds
    #[arg(long, value_name = "TIME")]
    pub not_after: Option<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Place {
    /// A LOAD CERT of its own
    LoadCert,
    /// In AUTH1
    Auth1,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tapdoor aliro reader --lock site/lock.toml\n  tapdoor aliro reader --lock site/lock.toml --group 00112233445566778899aabbccddeeff --key reader.pem\n  tapdoor aliro reader --lock site/lock.toml --issuer issuer.pem --certificate-in auth1"
)]
pub struct AliroReaderArgs {
    /// The lock.toml that gets the section `[aliro]`
    #[arg(long, value_name = "FILE")]
    pub lock: PathBuf,
    /// Reader group identifier, 32 hexadecimal digits (a new one)
    #[arg(long, value_name = "HEX")]
    pub group: Option<String>,
    /// Reader group sub identifier, 32 hexadecimal digits (a new one)
    #[arg(long, value_name = "HEX")]
    pub sub: Option<String>,
    /// The reader's private key (a new one)
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,
    /// The issuer's private key: the reader gets a certificate
    #[arg(long, value_name = "FILE")]
    pub issuer: Option<PathBuf>,
    /// Where the certificate goes
    #[arg(long, value_enum, requires = "issuer")]
    pub certificate_in: Option<Place>,
    #[command(flatten)]
    pub fields: FieldArgs,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tapdoor aliro credential --lock site/lock.toml --phone site/phone.toml\n  tapdoor aliro credential --lock site/lock.toml --name 0102030405060708 --key wallet.pub.pem --until 2030-01-01T00:00:00Z"
)]
pub struct CredentialArgs {
    /// The lock.toml whose list gets the public key
    #[arg(long, value_name = "FILE", required_unless_present = "phone")]
    pub lock: Option<PathBuf>,
    /// The phone.toml that gets the private key, and the lock's reader group
    #[arg(long, value_name = "FILE")]
    pub phone: Option<PathBuf>,
    /// The credential's key (a new one); a public key will do where there is no --phone
    #[arg(long, value_name = "FILE", required_unless_present = "phone")]
    pub key: Option<PathBuf>,
    /// Under which name the lock reports it, 16 hexadecimal digits (the phone's)
    #[arg(long, value_name = "ID")]
    pub name: Option<String>,
    /// Until when it opens, as 2030-01-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// Bytes of its mailbox, 0 to 4096
    #[arg(long, value_name = "N")]
    pub mailbox: Option<u16>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tapdoor aliro certificate --key reader.pem --issuer issuer.pem\n  tapdoor aliro certificate --key reader.pub.pem --issuer issuer.pem --subject 'door 7' --x509 --out door7.der"
)]
pub struct CertificateArgs {
    /// The reader's key, public or private
    #[arg(long, value_name = "FILE")]
    pub key: PathBuf,
    /// The issuer's private key
    #[arg(long, value_name = "FILE")]
    pub issuer: PathBuf,
    /// Where it is written, as bytes; without it it is printed in hexadecimal
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// As an X.509 certificate (DER) instead of the compressed form
    #[arg(long)]
    pub x509: bool,
    #[command(flatten)]
    pub fields: FieldArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  tapdoor aliro decode reader.crt\n  tapdoor aliro decode reader.crt --issuer issuer.pub.pem")]
pub struct DecodeArgs {
    /// A compressed or X.509 certificate: bytes, or hexadecimal digits
    pub file: PathBuf,
    /// Verify it by this issuer's key
    #[arg(long, value_name = "FILE")]
    pub issuer: Option<PathBuf>,
}
