//! The command line: the one definition behind help, completions and man pages.

mod aliro;
mod server;

use std::path::PathBuf;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use tapdoor_hce_card::Switch;
use tapdoor_workbench::ReaderSpec;
use tapdoor_workbench::dep::Place as Peer;

pub use self::aliro::*;
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
    /// Keys, readers, credentials and certificates of Aliro
    Aliro(AliroArgs),
    /// Send APDUs, exactly these bytes
    Apdu(ApduArgs),
    /// Run scripts: interop tests as plain text
    Run(RunArgs),
    /// The interactive shell
    Shell(ShellArgs),
    /// List the readers that can be seen
    #[command(after_help = "Examples:\n  tapdoor readers\n  tapdoor readers --json")]
    Readers,
    /// Say what stands in the way of a tap on this machine, with the cure
    Doctor(DoctorArgs),
    /// Say what a card or phone is
    Probe(ProbeArgs),
    /// Decode a tape, or another program's trace or log
    Show(ShowArgs),
    /// Recompute a recorded tap's cryptography, and have today's lock judge it
    Verify(VerifyArgs),
    /// Play one side of a tape against a live other side
    Replay(ReplayArgs),
    /// NFC-DEP with a peer, as initiator or target; type F cards
    Dep(DepArgs),
    /// A simulated PN532 on a pseudo-terminal, without a phone
    Simulate(SimulateArgs),
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
    /// pcsc:FRAGMENT, acr122u-raw:FRAGMENT, pn532:PATH, libnfc:CONNSTRING, udp:HOST:PORT, vpcd-listen:HOST:PORT,
    /// sim:[SWITCH,..] or tape:FILE
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
    /// Try only these methods, in this order (instead of lock.toml's): challenge-response, aka, aliro, usim
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
    after_help = "Examples:\n  tapdoor phone --config site/phone.toml --serve vpcd:127.0.0.1:35963\n  tapdoor phone --config site/phone.toml --serve tcp-listen:127.0.0.1:35970\n  tapdoor phone --config site/phone.toml --serve vpcd:127.0.0.1:35963 --lab wrong-key\n  tapdoor phone --config site/phone.toml --serve vpcd:127.0.0.1:35963 --server https://127.0.0.1:8443\n  tapdoor phone --config site/phone.toml --serve pn532:/tmp/pn532\n  tapdoor phone --config site/phone.toml --serve ifd:/run/tapdoor-reader,after=3\n  tapdoor phone --config site/phone.toml --serve vpcd:127.0.0.1:35963,as=acr122u\n  tapdoor phone --config site/phone.toml --serve libnfc:pn532_uart:/dev/ttyUSB0\n\nWhere: vpcd:HOST:PORT (connect to a vpcd), vpcd:HOST:PORT,as=acr122u (as a whole ACR122U), tcp-listen:HOST:PORT (vpcd's framing,\nlistening), pn532:PATH (a PN532 on a new pseudo-terminal, PATH a symlink to it), ifd:SOCKET (an ACR122U behind our own PC/SC driver),\nudp:HOST:PORT (frames in nfcpy's format), libnfc:CONNSTRING (a real PN532 as a target, where this build has libnfc).\npn532: and ifd: take after=SECONDS and stay=SECONDS: the phone comes later, and\nleaves; pn532: takes peer=PATH: a second PN532, which can be a target in the first one's field.\n\nLaboratory switches: missing[=challenge-response|aka|aliro|identity|AID], wrong-key, slow=MILLISECONDS,\nsilent[=N] (from the Nth APDU of a tap on), tear[=N] (gone at the Nth APDU), answer=HEX."
)]
pub struct PhoneArgs {
    /// phone.toml
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Where the phone is shown, such as vpcd:HOST:PORT or pn532:PATH (all of them below); may be given several times
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

/// In which form results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ResultForm {
    /// A line a test, for people
    Text,
    /// TAP version 14
    Tap,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tapdoor run suite:door --reader sim:\n  tapdoor run suite:iso7816 --reader pcsc: --set aid=F0544150444F4F5201 --junit phone.xml\n  tapdoor run tests/*.door --reader pcsc: --config site/lock.toml --keep-going\n  tapdoor run mine.door --check\n\nSuites that come with the program: suite:door, suite:iso7816 (`run --list` says what they are). The language is in docs/scripts.md.\nExit status: 0 all passed or skipped, 1 an expectation failed, 3 reader or card failed, 4 a script is not understood."
)]
pub struct RunArgs {
    /// Scripts (.door), or suite:NAME
    #[arg(required_unless_present = "list", value_name = "SCRIPT")]
    pub scripts: Vec<String>,
    /// pcsc:FRAGMENT, acr122u-raw:FRAGMENT, pn532:PATH, libnfc:CONNSTRING, udp:HOST:PORT, vpcd-listen:HOST:PORT,
    /// sim:[SWITCH,..] or tape:FILE
    #[arg(long, env = "TAPDOOR_READER", value_name = "READER")]
    pub reader: Option<ReaderSpec>,
    /// lock.toml, whose keys `auth` uses
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Give a name a value; may be given several times
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = assignment)]
    pub set: Vec<(String, String)>,
    /// Go on after a failure, with the next test and the next script
    #[arg(short, long)]
    pub keep_going: bool,
    /// How results are printed
    #[arg(long, value_enum, default_value_t = ResultForm::Text)]
    pub form: ResultForm,
    /// Write JUnit XML
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Read the scripts and run nothing
    #[arg(long)]
    pub check: bool,
    /// List the suites that come with the program
    #[arg(long)]
    pub list: bool,
    /// How long to wait for a card, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub wait: u64,
    /// Record a tape; the file must not be there yet
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Put secrets on the tape
    #[arg(long)]
    pub show_secrets: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tapdoor shell --reader pcsc:ACR122U\n  tapdoor shell --reader sim: --config site/lock.toml\n  printf 'select aka\\nexpect sw 9000\\n' | tapdoor shell --reader sim:\n\nInside, `help` lists the commands. Lines that were typed are kept in $XDG_STATE_HOME/tapdoor/history (~/.local/state).\nIn a pipe there is no prompt, and the exit status is that of the first line that failed."
)]
pub struct ShellArgs {
    /// pcsc:FRAGMENT, acr122u-raw:FRAGMENT, pn532:PATH, libnfc:CONNSTRING, udp:HOST:PORT, vpcd-listen:HOST:PORT,
    /// sim:[SWITCH,..] or tape:FILE
    #[arg(long, env = "TAPDOOR_READER", value_name = "READER")]
    pub reader: Option<ReaderSpec>,
    /// lock.toml, whose keys `auth` uses
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// How long to wait for a card, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub wait: u64,
    /// In a pipe: end at the first line that fails
    #[arg(short = 'e', long)]
    pub stop_on_error: bool,
}

impl Command {
    /// Puts a reader in the place of the one that was given; says whether this command has one.
    pub fn set_reader(&mut self, reader: &ReaderSpec) -> bool {
        match self {
            Self::Lock(args) => args.reader.reader = reader.clone(),
            Self::Apdu(args) => args.reader.reader = reader.clone(),
            Self::Probe(args) => args.reader.reader = reader.clone(),
            Self::Run(args) => args.reader = Some(reader.clone()),
            Self::Replay(args) => args.reader = Some(reader.clone()),
            // `bench` measures a reader only when it is told to.
            _ => return false,
        }
        true
    }
}

/// `NAME=VALUE`
fn assignment(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    match tapdoor_workbench::script::parse::name(name) {
        Some(_) => Ok((name.to_owned(), value.to_owned())),
        None => Err(format!("\"{name}\" is no name: a letter, then letters, digits, - and _")),
    }
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tapdoor doctor\n  sudo tapdoor doctor\n  tapdoor doctor --record mine.json\n  tapdoor doctor --recorded theirs.json\n\nNothing is changed by looking. As root it sees which other programs use a reader. The exit status is 1 if something stands in the way of\na tap, and 0 if there are warnings only."
)]
pub struct DoctorArgs {
    /// Keep what was looked at, to mail it; the file must not be there yet
    #[arg(long, value_name = "FILE", conflicts_with = "recorded")]
    pub record: Option<PathBuf>,
    /// Look at a machine that was recorded instead of this one
    #[arg(long, value_name = "FILE")]
    pub recorded: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tapdoor probe --reader pcsc:ACR122U\n  tapdoor probe --reader pcsc:ACR122U --record phone.tape\n  tapdoor probe --reader tape:phone.tape\n  tapdoor probe --reader sim:\n\nAsks the reader for UID and ATS, and the card by SELECT for the applications that are known; nothing on the card is changed."
)]
pub struct ProbeArgs {
    #[command(flatten)]
    pub reader: ReaderArgs,
    /// How long to wait for a card, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub wait: u64,
    /// Record a tape; the file must not be there yet
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Print a UID that is always the same, and what applications say of themselves; put secrets on the tape
    #[arg(long)]
    pub show_secrets: bool,
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
    /// Decipher Aliro with this key: an ephemeral private key of either side, or Kpersistent; 64 hexadecimal digits
    #[arg(long, value_name = "HEX")]
    pub key: Vec<String>,
    /// Decipher Aliro as this lock.toml's lock: its reader group, its credentials, what its chip remembers (fast transactions), and what a
    /// tape with secrets holds
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tapdoor verify today.tape --config site/lock.toml\n  tapdoor verify today.tape --config site/lock.toml --tap 3 -v\n  tapdoor lock --config site/lock.toml --reader pcsc: --record full.tape --show-secrets   (a tape without masks)\n  tapdoor verify full.tape --config site/lock.toml --method aliro\n\nWith the keys of lock.toml every challenge, token, AUTN, RES and session key is recomputed, and today's lock is run over the\nrecorded answers. What a masked tape cannot prove is said. Aliro: a fast transaction needs its Kpersistent (in the lock's store), a\nstandard one an ephemeral key of either side (on a tape that was recorded with --show-secrets, or --key).\nExit status: 0 same decisions and right values, 1 not, 4 the tape is not understood."
)]
pub struct VerifyArgs {
    /// The tape
    pub file: PathBuf,
    /// lock.toml, of the lock that recorded it
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Try only these methods, in this order, as the lock that recorded did with its --method
    #[arg(long, value_name = "METHOD", value_delimiter = ',')]
    pub method: Vec<String>,
    /// This tap only
    #[arg(long, value_name = "N")]
    pub tap: Option<u64>,
    /// Open Aliro with this key, too: an ephemeral private key of either side, or Kpersistent; 64 hexadecimal digits
    #[arg(long, value_name = "HEX")]
    pub key: Vec<String>,
    /// Print identities whole
    #[arg(long)]
    pub show_secrets: bool,
}

/// Which side of a tape is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Side {
    /// The recorded card answers a live lock
    Card,
    /// The recorded lock's commands go to a live card
    Lock,
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
    after_help = "Examples:\n  tapdoor replay today.tape --as card --config site/lock.toml             today's lock in this process\n  tapdoor replay today.tape --as card --config site/lock.toml --serve vpcd:127.0.0.1:35963\n  tapdoor replay aliro.tape --as card --config site/lock.toml --phone site/phone.toml --method aliro\n  tapdoor replay today.tape --as card --strict --serve tcp-listen:127.0.0.1:0\n  tapdoor replay today.tape --as lock --reader pcsc: --config site/lock.toml\n  tapdoor replay today.tape --as lock --reader pcsc:\n\nWith --config the answers (as card) and the challenges (as lock) are made anew: same decisions, not same bytes.\nExit status: 0 as recorded, 1 differences, 3 reader or card failed, 4 the tape is not understood."
)]
pub struct ReplayArgs {
    /// The tape
    pub file: PathBuf,
    /// Which side is played
    #[arg(long = "as", value_enum, value_name = "SIDE")]
    pub side: Side,
    /// lock.toml, with whose keys values are made anew
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// As card: phone.toml, with whose credentials Aliro's answers are made anew; without it the one beside lock.toml, if there is one
    #[arg(long, value_name = "FILE")]
    pub phone: Option<PathBuf>,
    /// Try only these methods, in this order, as the lock that recorded did with its --method
    #[arg(long, value_name = "METHOD", value_delimiter = ',')]
    pub method: Vec<String>,
    /// As card: where it is shown, vpcd:HOST:PORT or tcp-listen:HOST:PORT; without it to a lock in this process
    #[arg(long, value_name = "SERVE")]
    pub serve: Option<String>,
    /// As lock: where the card is
    #[arg(long, env = "TAPDOOR_READER", value_name = "READER")]
    pub reader: Option<ReaderSpec>,
    /// As card: take only the very commands of the tape
    #[arg(long)]
    pub strict: bool,
    /// This tap only
    #[arg(long, value_name = "N")]
    pub tap: Option<u64>,
    /// As lock: how long to wait for a card, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub wait: u64,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tapdoor simulate /tmp/pn532 --near udp:127.0.0.1:54321\n  tapdoor phone --config site/phone.toml --serve libnfc:pn532_uart:/tmp/pn532\n  tapdoor lock --config site/lock.toml --reader udp:127.0.0.1:54321\n\n  tapdoor simulate /tmp/a --near pn532:/tmp/b\n\nPrograms for a real PN532 find one at PATH. With a reader near it, it can be a target; of two chips either can be the reader.\nWith a phone in its field it is `tapdoor phone --serve pn532:PATH`."
)]
pub struct SimulateArgs {
    /// Becomes a symlink to the new pseudo-terminal
    #[arg(value_name = "PATH")]
    pub path: PathBuf,
    /// What is near the chip: udp:HOST:PORT (a reader that sends frames there in nfcpy's format; port 0: any) or pn532:PATH (another chip)
    #[arg(long, value_name = "WHAT")]
    pub near: Option<String>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tapdoor dep --poll 127.0.0.1:54321\n  tapdoor dep --initiator 127.0.0.1:54321 --rate 424 --bytes 1,250,2000\n  tapdoor dep --target 127.0.0.1:54321\n  tapdoor dep --initiator pn532:/dev/ttyUSB0 --rate 106\n  tapdoor dep --target pn532:/dev/ttyUSB0\n\nPLACE is HOST:PORT (frames travel over UDP in nfcpy's format), pn532:PATH or acr122u-raw:FRAGMENT: NFC-DEP is ours, and the\nchip is our radio. With pn532:PATH,firmware the chip is the initiator itself; as a target it always is. The target sends back what it is sent; the initiator sends so many bytes and\nexpects them back. Exit status 1 if others came back."
)]
pub struct DepArgs {
    /// What type F card is at PLACE
    #[arg(long, value_name = "PLACE", required_unless_present_any = ["initiator", "target"], conflicts_with_all = ["initiator", "target"])]
    pub poll: Option<Peer>,
    /// Be the initiator, with the target at PLACE
    #[arg(long, value_name = "PLACE", conflicts_with = "target")]
    pub initiator: Option<Peer>,
    /// Be a target at PLACE that sends back what it is sent
    #[arg(long, value_name = "PLACE")]
    pub target: Option<Peer>,
    /// Rate in kbit/s: 106, 212 or 424
    #[arg(long, value_name = "KBPS", default_value_t = 212)]
    pub rate: u32,
    /// Rate at which the target is looked for, if it is not the same: then PSL follows
    #[arg(long, value_name = "KBPS")]
    pub find_at: Option<u32>,
    /// How many bytes to send, one exchange each
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 250, 2000], value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub bytes: Vec<u32>,
    /// General bytes of ATR, in hexadecimal
    #[arg(long, value_name = "HEX", default_value = "")]
    pub general: String,
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
    /// CPU of lock and phone for Aliro, and its fast phase with many remembered credentials
    Aliro,
    /// APDUs per second through a reader, beside a bare SCardTransmit loop
    Link,
    /// Recorded taps verified per second
    Verify,
    /// Steps of a script per second
    Script,
    /// How long a tap is on the air, by simulated time, and its bytes each way
    Radio,
    /// The fault table: every fault at every frame of a tap, and what came of it
    Faults,
    /// A tap with a download and where its time goes; then many phones and locks at once
    Download,
    /// A million frames of pcapng decoded, beside tshark
    Decode,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tapdoor bench\n  tapdoor bench find --json\n  tapdoor bench link --reader pcsc:ACR122U\n  tapdoor bench radio --tapes frames/\n  tapdoor bench faults --json\n  tapdoor bench download --phones 20 --rounds 1"
)]
pub struct BenchArgs {
    /// What to measure; without it everything that needs no reader
    #[arg(value_enum)]
    pub name: Option<BenchName>,
    /// The reader of `bench link`
    #[arg(long, env = "TAPDOOR_READER", value_name = "READER")]
    pub reader: Option<ReaderSpec>,
    /// The folder of `bench radio`, for the frames of each tap as METHOD-RATE.tape
    #[arg(long, value_name = "DIR")]
    pub tapes: Option<PathBuf>,
    /// How many of each (taps, APDUs)
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub count: u32,
    /// Phones that wait in `bench download`
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=2000))]
    pub phones: u16,
    /// How often each of them is downloaded to
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub rounds: u32,
    /// Downloads at a time: as many locks
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub at_a_time: u16,
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
