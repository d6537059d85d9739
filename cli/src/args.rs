//! The command line: the one definition behind help, completions and man pages.

mod server;

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use tapdoor_hce_card::Switch;
use tapdoor_workbench::ReaderSpec;

pub use self::server::*;

/// A workbench for doors that open with a phone.
#[derive(Debug, Parser)]
#[command(
    name = "tapdoor",
    version,
    max_term_width = 120,
    after_help = "Examples:\n  tapdoor demo\n  tapdoor init site\n  tapdoor lock --config site/lock.toml --reader sim: --once\n\nExit status: 0 done, 1 refused, 2 usage or configuration, 3 reader, card or network, 4 input not understood, 130 interrupted."
)]
pub struct Arguments {
    /// Print one JSON object a line on stdout, and nothing else there
    #[arg(long, global = true)]
    pub json: bool,
    /// Say more, on stderr
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Say less
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Colours
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub color: Color,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Color {
    /// On a terminal
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// The whole story in one process
    Demo(DemoArgs),
    /// Make a working set of configuration and keys
    Init(InitArgs),
    /// Be the lock
    Lock(LockArgs),
    /// Be the phone
    Phone(PhoneArgs),
    /// Be the application management server, or administer it
    Server(ServerArgs),
    /// Send APDUs, exactly these bytes
    Apdu(ApduArgs),
    /// List the readers that can be seen
    #[command(after_help = "Examples:\n  tapdoor readers\n  tapdoor readers --json")]
    Readers,
    /// Decode a tape, or another program's trace or log
    Show(ShowArgs),
    /// Turn a tape, trace or log into another format
    Convert(ConvertArgs),
    /// Compare two sessions by what they mean
    Diff(DiffArgs),
    /// Take secrets and identities out of a tape
    Redact(RedactArgs),
    /// Measure
    Bench(BenchArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
    /// Write man pages into a folder
    Man(ManArgs),
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  tapdoor demo\n  tapdoor demo --json | tail -n 1")]
pub struct DemoArgs {
    /// Keep the first scene's tape here
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tapdoor init site\n  tapdoor init site --phones 3\n  tapdoor init site --bare-phone\n  tapdoor init lab --usim\n\nMakes lock.toml, phone.toml, server.toml, the server's certificates (ca.crt, ca.key, server.crt, server.key), its\nadministration token (admin.token), the key that signs applications (provider.key), and the applications (apps/)."
)]
pub struct InitArgs {
    /// The folder; existing files are never overwritten
    pub dir: PathBuf,
    /// How many phones: phone.toml, phone-2.toml, ...
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub phones: u32,
    /// A test USIM too (AKA profile U), for a laboratory only
    #[arg(long)]
    pub usim: bool,
    /// Phones without applications: the first tap downloads them
    #[arg(long)]
    pub bare_phone: bool,
}

/// Where the card is.
#[derive(Args, Debug)]
pub struct ReaderArgs {
    /// pcsc:FRAGMENT, vpcd-listen:HOST:PORT, sim:[SWITCH,..] or tape:FILE
    #[arg(long, env = "TAPDOOR_READER", value_name = "READER")]
    pub reader: ReaderSpec,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Expect {
    /// Every tap opens
    Open,
    /// No tap opens
    Refused,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tapdoor lock --config site/lock.toml --reader sim: --once\n  tapdoor lock --config site/lock.toml --reader pcsc:ACR122U --record today.tape\n  tapdoor lock --config site/lock.toml --reader sim:wrong-key --once --expect refused\n  tapdoor lock --config site/lock.toml --reader pcsc: --calibrate 20\n\nThe exit status is 0 if every tap opened (--expect refused: if none did), else 1."
)]
pub struct LockArgs {
    /// lock.toml
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    #[command(flatten)]
    pub reader: ReaderArgs,
    /// One tap, then end
    #[arg(long, conflicts_with_all = ["count", "calibrate"])]
    pub once: bool,
    /// So many taps, then end
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "calibrate")]
    pub count: Option<u64>,
    /// Record a tape; the file must not be there yet
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// What the exit status asks for
    #[arg(long, value_enum, default_value_t = Expect::Open)]
    pub expect: Expect,
    /// Try only these methods, in this order (instead of lock.toml's): challenge-response, aka, usim
    #[arg(long, value_name = "METHOD", value_delimiter = ',')]
    pub method: Vec<String>,
    /// The application management server, instead of lock.toml's: asked when a phone lacks its application
    #[arg(long, value_name = "URL")]
    pub server: Option<String>,
    /// PEM of the server's authority, instead of lock.toml's
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Ask no server, whatever lock.toml says
    #[arg(long, conflicts_with_all = ["server", "ca"])]
    pub no_server: bool,
    /// Propose time caps from N honest taps
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub calibrate: Option<u64>,
    /// Print identities whole, and put secrets on the tape
    #[arg(long)]
    pub show_secrets: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tapdoor phone --config site/phone.toml --serve vpcd:127.0.0.1:35963\n  tapdoor phone --config site/phone.toml --serve tcp-listen:127.0.0.1:35970\n  tapdoor phone --config site/phone.toml --serve vpcd:127.0.0.1:35963 --lab wrong-key\n  tapdoor phone --config site/phone.toml --serve vpcd:127.0.0.1:35963 --server https://127.0.0.1:8443\n\nLaboratory switches: missing[=challenge-response|aka|identity|AID], wrong-key, slow=MILLISECONDS,\nsilent[=N] (from the Nth APDU of a tap on), tear[=N] (gone at the Nth APDU), answer=HEX."
)]
pub struct PhoneArgs {
    /// phone.toml
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// vpcd:HOST:PORT (connect to a vpcd) or tcp-listen:HOST:PORT (the same framing, listening); may be given several times
    #[arg(long, value_name = "SERVE", required = true)]
    pub serve: Vec<String>,
    /// A laboratory switch; may be given several times
    #[arg(long, value_name = "SWITCH")]
    pub lab: Vec<Switch>,
    /// The server whose applications the phone takes, https://HOST:PORT (instead of phone.toml's)
    #[arg(long, value_name = "URL", conflicts_with = "no_server")]
    pub server: Option<String>,
    /// Certificate of the server's authority, PEM (instead of phone.toml's)
    #[arg(long, value_name = "FILE", conflicts_with = "no_server")]
    pub ca: Option<PathBuf>,
    /// No agent, whatever phone.toml says
    #[arg(long)]
    pub no_server: bool,
    /// Leave the field when told the verdict, and come back: the next tap
    #[arg(long)]
    pub retap: bool,
    /// Print identities whole
    #[arg(long)]
    pub show_secrets: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tapdoor apdu --reader pcsc: 00A4040000\n  tapdoor apdu --reader sim: '00 A4 04 00 09 F0544150444F4F5201 00' --sw 9000\n\nSends exactly these bytes and prints exactly what came back: no GET RESPONSE, no chaining."
)]
pub struct ApduArgs {
    #[command(flatten)]
    pub reader: ReaderArgs,
    /// The status word that every answer must have, x for any digit; several by commas. A mismatch is exit status 1
    #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
    pub sw: Vec<String>,
    /// How long to wait for a card, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub wait: u64,
    /// Record a tape; the file must not be there yet
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Put secrets on the tape
    #[arg(long)]
    pub show_secrets: bool,
    /// APDUs in hexadecimal, each one argument; spaces are allowed inside
    #[arg(required = true, value_name = "HEX")]
    pub apdus: Vec<String>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tapdoor show today.tape\n  tapdoor show today.tape --tap 3 --layer apdu\n  tapdoor show sniff.pcapng --plain | grep SELECT\n  tapdoor show gp.log --json\n\nReads tapes, and the traces and logs of other programs: see tapdoor convert --help."
)]
pub struct ShowArgs {
    /// The tape, trace or log; - is standard input
    pub file: PathBuf,
    /// One line an event, without colour and fields: the quick form
    #[arg(long)]
    pub plain: bool,
    /// The file's format, if its content does not tell it
    #[arg(long, value_name = "FORMAT")]
    pub from: Option<String>,
    /// This tap only
    #[arg(long, value_name = "N")]
    pub tap: Option<u64>,
    /// This layer only: apdu, chip, lock, note, ...
    #[arg(long, value_name = "L")]
    pub layer: Option<String>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tapdoor convert today.tape today.pcapng\n  tapdoor convert sniff.trace sniff.tape\n  tapdoor convert gp.log - --to dump\n  tapdoor convert usim.tape usim.pcapng --to gsmtap\n\nReads: tape, json, pcapng and pcap (link type 264, GSMTAP), pm3-trace, pm3-text, apdu4j (GlobalPlatformPro), dump,\npcscd, opensc, opensc-tool, libnfc, nfcpy, nci (Android), nfc-laboratory, arrows (Home Key, Aliro), scriptor.\nWrites: tape, json, csv, pcapng, gsmtap, dump, pm3-trace, scriptor, door. Each loss is said on stderr."
)]
pub struct ConvertArgs {
    /// The file to read; - is standard input
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// The file to write, which is replaced if it is there; - is standard output
    #[arg(value_name = "OUT")]
    pub output: PathBuf,
    /// The format of IN, if its content does not tell it
    #[arg(long, value_name = "FORMAT")]
    pub from: Option<String>,
    /// The format of OUT, if its name does not tell it
    #[arg(long, value_name = "FORMAT")]
    pub to: Option<String>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tapdoor diff yesterday.tape today.tape\n  tapdoor diff good.tape sniff.pcapng --json\n\nChallenges, cryptograms, ephemeral keys and random UIDs are compared by their length only. Times are shown and are no\ndifference. The exit status is 0 when nothing differs, 1 when something does."
)]
pub struct DiffArgs {
    /// The first session: a tape, or another program's trace or log
    pub a: PathBuf,
    /// The second one
    pub b: PathBuf,
    /// The format of A, if its content does not tell it
    #[arg(long, value_name = "FORMAT")]
    pub from_a: Option<String>,
    /// The format of B, if its content does not tell it
    #[arg(long, value_name = "FORMAT")]
    pub from_b: Option<String>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tapdoor redact today.tape to-mail.tape\n  tapdoor redact a.tape a2.tape --secret 'our house' && tapdoor redact b.tape b2.tape --secret 'our house'\n\nKeys, PINs, ICCID, IMSI, IMEI, MSISDN, UIDs, challenges and cryptograms are replaced, each by the same other value\nwherever it stands. What is replaced by what is another secret in every run, unless --secret is given."
)]
pub struct RedactArgs {
    /// The file to read; - is standard input
    #[arg(value_name = "IN")]
    pub input: PathBuf,
    /// The file to write, which is replaced if it is there; - is standard output
    #[arg(value_name = "OUT")]
    pub output: PathBuf,
    /// The format of IN, if its content does not tell it
    #[arg(long, value_name = "FORMAT")]
    pub from: Option<String>,
    /// The format of OUT: tape (default), or one that its name tells
    #[arg(long, value_name = "FORMAT")]
    pub to: Option<String>,
    /// Replace by the same values in several runs: keep this text to yourself
    #[arg(long, value_name = "TEXT")]
    pub secret: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchName {
    /// CPU and wall time of a whole tap, each method
    Tap,
    /// Finding a phone among 10,000
    Find,
    /// APDUs per second through a reader, beside a bare SCardTransmit loop
    Link,
    /// A million frames of pcapng decoded, beside tshark
    Decode,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  tapdoor bench\n  tapdoor bench find --json\n  tapdoor bench link --reader pcsc:ACR122U")]
pub struct BenchArgs {
    /// What to measure; without it everything that needs no reader
    #[arg(value_enum)]
    pub name: Option<BenchName>,
    /// The reader of `bench link`
    #[arg(long, env = "TAPDOOR_READER", value_name = "READER")]
    pub reader: Option<ReaderSpec>,
    /// How many of each (taps, APDUs)
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub count: u32,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  tapdoor completions bash > ~/.local/share/bash-completion/completions/tapdoor")]
pub struct CompletionsArgs {
    /// Which shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  tapdoor man ~/.local/share/man/man1")]
pub struct ManArgs {
    /// The folder
    pub dir: PathBuf,
}
