//! The arguments of `tapdoor server`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tapdoor server --config site/server.toml\n  tapdoor server --config site/server.toml status\n  tapdoor server --config site/server.toml add-phone --imei 490154203237518 --out phone-2.toml\n  tapdoor server --config site/server.toml grant imei:490154203237518 mac:02:00:5e:10:00:01\n\nAdministration goes to the server that runs with this configuration; if none runs, to its store.\nA PHONE or LOCK is 16 hexadecimal digits, KIND:VALUE (imei:, iccid:, imsi:, msisdn:, mac:), or the value alone."
)]
pub struct ServerArgs {
    /// server.toml
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        default_value = "server.toml",
        env = "TAPDOOR_SERVER_CONFIG"
    )]
    pub config: PathBuf,
    /// Where to listen, ADDRESS:PORT (instead of server.toml's); port 0 is any
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// What is logged to stderr; RUST_LOG goes before it
    #[arg(long, value_enum, value_name = "LEVEL")]
    pub log: Option<LogLevel>,
    /// Certificate of the authority of the running server, PEM; ca.crt beside the server's own if left out
    #[arg(long, global = true, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    #[command(subcommand)]
    pub command: Option<ServerCommand>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

#[derive(Debug, Subcommand)]
pub enum ServerCommand {
    /// Make a certificate authority, the server's certificate and an administration token
    Init(ServerInitArgs),
    /// Register a lock; its lock.toml is made too
    AddLock(AddLockArgs),
    /// Register a phone; its phone.toml is made too
    AddPhone(AddPhoneArgs),
    /// Add or change a system: which application its phones and locks get
    AddSystem(AddSystemArgs),
    /// Add or change a provider: under which key its applications are signed
    AddProvider(AddProviderArgs),
    /// Add a version of an application
    AddApp(AddAppArgs),
    /// Let a phone open a lock, or a group of locks
    Grant(GrantArgs),
    /// Take that back
    Revoke(RevokeArgs),
    /// Take a lock out of service
    RevokeLock(OneLockArgs),
    /// Take a phone out of service
    RevokePhone(OnePhoneArgs),
    /// Send an application, a lock's list, or a deletion
    Push(PushArgs),
    /// How the server does; locks, phones and grants with --all
    Status(StatusArgs),
    /// Jobs, newest first
    Jobs(JobsArgs),
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  tapdoor server init site --name door.example.com --name 192.0.2.7\n\nOverwrites nothing.")]
pub struct ServerInitArgs {
    /// The folder
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// A name or address under which the server is reached; may be given several times
    #[arg(long, value_name = "NAME", default_values_t = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()])]
    pub name: Vec<String>,
}

#[derive(Args, Debug)]
#[command(
    group = ArgGroup::new("lock-identifier").required(true).multiple(true).args(["mac", "iccid", "imsi", "msisdn"]),
    after_help = "Examples:\n  tapdoor server add-lock --mac 02:00:5e:10:00:01 --out lock-2.toml\n  tapdoor server add-lock --imsi 001010123456789 --system locker --group cellar\n\nWithout --out the lock's configuration goes into lock-2.toml, lock-3.toml, ... beside server.toml."
)]
pub struct AddLockArgs {
    /// Its network address
    #[arg(long, value_name = "V")]
    pub mac: Option<String>,
    /// Of its chip, 18 to 20 digits
    #[arg(long, value_name = "V")]
    pub iccid: Option<String>,
    /// Of its subscription
    #[arg(long, value_name = "V")]
    pub imsi: Option<String>,
    /// Its number
    #[arg(long, value_name = "V")]
    pub msisdn: Option<String>,
    /// 16 hexadecimal digits; made up if left out
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Which system it belongs to
    #[arg(long, value_name = "S", default_value = "door")]
    pub system: String,
    /// A group of locks it is in; may be given several times
    #[arg(long, value_name = "G")]
    pub group: Vec<String>,
    /// Its maintenance window, UTC
    #[arg(long, value_name = "HH:MM-HH:MM")]
    pub window: Option<String>,
    /// Register a lock that has its key already (P-256, SEC1, hexadecimal): no keys and no file are made
    #[arg(long, value_name = "HEX", conflicts_with = "out")]
    pub public_key: Option<String>,
    /// Write its lock.toml here; nothing is overwritten
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print identities whole
    #[arg(long)]
    pub show_secrets: bool,
}

#[derive(Args, Debug)]
#[command(
    group = ArgGroup::new("phone-identifier").required(true).multiple(true).args(["imei", "iccid", "imsi", "msisdn"]),
    after_help = "Examples:\n  tapdoor server add-phone --imei 490154203237518 --out phone-2.toml\n  tapdoor server add-phone --msisdn +491701234567 --no-file\n\nWithout --out the phone's configuration goes into phone-2.toml, phone-3.toml, ... beside server.toml. It holds no application: the first tap\ndownloads it."
)]
pub struct AddPhoneArgs {
    /// The phone's own, 15 digits
    #[arg(long, value_name = "V")]
    pub imei: Option<String>,
    /// Of its chip, 18 to 20 digits
    #[arg(long, value_name = "V")]
    pub iccid: Option<String>,
    /// Of its subscription
    #[arg(long, value_name = "V")]
    pub imsi: Option<String>,
    /// Its number
    #[arg(long, value_name = "V")]
    pub msisdn: Option<String>,
    /// 16 hexadecimal digits; made up if left out
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// Its application claims that the user was authenticated
    #[arg(long)]
    pub user_authenticated: bool,
    /// Only register it: no keys and no file are made
    #[arg(long, conflicts_with = "out")]
    pub no_file: bool,
    /// Write its phone.toml here; nothing is overwritten
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Print identities whole
    #[arg(long)]
    pub show_secrets: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  tapdoor server add-system locker --application aka --lock-application aka-lock")]
pub struct AddSystemArgs {
    /// Its name
    pub name: String,
    /// The application that its phones get; none: it has no application
    #[arg(long, value_name = "APP")]
    pub application: Option<String>,
    /// The application that its locks get
    #[arg(long, value_name = "APP")]
    pub lock_application: Option<String>,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  tapdoor server add-provider acme --key 02...")]
pub struct AddProviderArgs {
    /// Its name
    pub name: String,
    /// P-256 public key, SEC1, hexadecimal
    #[arg(long, value_name = "HEX")]
    pub key: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Half {
    Phone,
    Lock,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tapdoor server add-app challenge-response 1.1 app.load --provider site \\\n      --elf F0544150444F4F52A1 --module F0544150444F4F52A101 --aid F0544150444F4F5201\n  tapdoor server add-app challenge-response 1.1 app.wasm --sign provider.key --provider site --elf ... --module ... --aid ..."
)]
pub struct AddAppArgs {
    /// Its name
    pub name: String,
    /// Its version, as 1.0
    pub version: String,
    /// The load file; or the module itself, to be signed
    pub file: PathBuf,
    /// AID of the load file
    #[arg(long, value_name = "AID")]
    pub elf: String,
    /// AID of the program in it
    #[arg(long, value_name = "AID")]
    pub module: String,
    /// AID of the application to be made of it
    #[arg(long, value_name = "AID")]
    pub aid: String,
    /// For phones or for locks
    #[arg(long, value_enum, default_value_t = Half::Phone)]
    pub half: Half,
    /// For a lock half: AID of the phone's application
    #[arg(long, value_name = "AID")]
    pub peer: Option<String>,
    /// Its parameters, hexadecimal
    #[arg(long, value_name = "HEX")]
    pub parameters: Option<String>,
    /// Whose signature it must have
    #[arg(long, value_name = "NAME")]
    pub provider: Option<String>,
    /// Make the load file of a module, signed by this private key (64 hexadecimal digits)
    #[arg(long, value_name = "FILE")]
    pub sign: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tapdoor server grant imei:490154203237518 mac:02:00:5e:10:00:01 --until 2030-01-01T00:00:00Z\n  tapdoor server grant 490154203237518 --group cellar"
)]
pub struct GrantArgs {
    /// Who
    pub phone: String,
    /// What; or --group
    #[arg(required_unless_present = "group", conflicts_with = "group")]
    pub lock: Option<String>,
    /// All locks of a group
    #[arg(long, value_name = "G")]
    pub group: Option<String>,
    /// The end, RFC 3339
    #[arg(long, value_name = "T")]
    pub until: Option<String>,
    /// The weakest method: challenge-response, aka, aliro
    #[arg(long, value_name = "METHOD")]
    pub weakest: Option<String>,
    /// The user must be authenticated on the phone
    #[arg(long)]
    pub user_authenticated: bool,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tapdoor server revoke imei:490154203237518 mac:02:00:5e:10:00:01\n  tapdoor server revoke imei:490154203237518 --all"
)]
pub struct RevokeArgs {
    /// Whose grant
    pub phone: String,
    /// For which lock; or --group, or --all
    #[arg(required_unless_present_any = ["group", "all"], conflicts_with_all = ["group", "all"])]
    pub lock: Option<String>,
    /// For this group
    #[arg(long, value_name = "G", conflicts_with = "all")]
    pub group: Option<String>,
    /// All grants of the phone
    #[arg(long)]
    pub all: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  tapdoor server revoke-lock mac:02:00:5e:10:00:01")]
pub struct OneLockArgs {
    /// Which lock
    pub lock: String,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  tapdoor server revoke-phone imei:490154203237518")]
pub struct OnePhoneArgs {
    /// Which phone
    pub phone: String,
}

#[derive(Args, Debug)]
#[command(
    group = ArgGroup::new("what").required(true).args(["app", "list", "delete"]),
    after_help = "Examples:\n  tapdoor server push challenge-response --to system:door\n  tapdoor server push challenge-response-lock --to lock:mac:02:00:5e:10:00:01 --window\n  tapdoor server push --list --to group:cellar\n  tapdoor server push --delete F0544150444F4F52A1 --to phone:imei:490154203237518"
)]
pub struct PushArgs {
    /// An application
    pub app: Option<String>,
    /// Its version; the highest if left out
    #[arg(long, value_name = "V", requires = "app")]
    pub version: Option<String>,
    /// The whole list of a lock
    #[arg(long)]
    pub list: bool,
    /// Have a load file deleted, with its applications
    #[arg(long, value_name = "AID")]
    pub delete: Option<String>,
    /// To whom: lock:LOCK, phone:PHONE, group:NAME or system:NAME
    #[arg(long, value_name = "WHOM")]
    pub to: String,
    /// In the lock's maintenance window, not now
    #[arg(long)]
    pub window: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  tapdoor server status\n  tapdoor server status --all --json")]
pub struct StatusArgs {
    /// Every lock, phone, grant, system and application too
    #[arg(long)]
    pub all: bool,
    /// Print identities whole
    #[arg(long)]
    pub show_secrets: bool,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  tapdoor server jobs\n  tapdoor server jobs --state failed\n  tapdoor server jobs 17")]
pub struct JobsArgs {
    /// One job, with its history
    pub job: Option<i64>,
    /// In this state: queued, running, done, failed
    #[arg(long, value_name = "STATE", conflicts_with = "job")]
    pub state: Option<String>,
    /// Of this lock
    #[arg(long, value_name = "LOCK", conflicts_with_all = ["job", "phone"])]
    pub lock: Option<String>,
    /// Of this phone
    #[arg(long, value_name = "PHONE", conflicts_with = "job")]
    pub phone: Option<String>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: u32,
    /// Print identities whole
    #[arg(long)]
    pub show_secrets: bool,
}
