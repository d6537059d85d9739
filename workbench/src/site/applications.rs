//! The applications that a new site can send: the committed modules, signed by the site's own provider.

use std::fmt::Write;

use tapdoor_protocol::aid::Aid;
use tapdoor_protocol::crypto::sign;
use tapdoor_protocol::globalplatform::load_file::LoadFile;
use tapdoor_protocol::vault::Method;

/// The name of the provider of a new site.
pub const PROVIDER: &str = "site";

const CHALLENGE_RESPONSE: &[u8] = include_bytes!("../../../applets/challenge-response.wasm");
const TWO_METHODS: &[u8] = include_bytes!("../../../applets/two-methods.wasm");

/// A half of a method as it is sent to chips: a program of a module, the instance to be made of it, and its parameters.
#[derive(Clone, Copy, Debug)]
pub struct Packaged {
    /// Its name at the server.
    pub name: &'static str,
    /// The file, without folder and extension.
    pub file: &'static str,
    /// Whether it is for locks.
    pub lock_half: bool,
    /// AID of the load file.
    pub elf: &'static str,
    /// AID of the program in it.
    pub module: &'static str,
    /// AID of the instance.
    pub aid: Aid,
    /// AID of the phone's application.
    pub peer: Aid,
    /// Tag 8E, for the module that knows two methods (docs/applets.md).
    pub method: Option<Method>,
}

/// What a new site can send.
pub const PACKAGED: [Packaged; 4] = [
    Packaged {
        name: "challenge-response",
        file: "challenge-response-1.0",
        lock_half: false,
        elf: "F0544150444F4F52A1",
        module: "F0544150444F4F52A101",
        aid: Aid::CHALLENGE_RESPONSE,
        peer: Aid::CHALLENGE_RESPONSE,
        method: None,
    },
    Packaged {
        name: "challenge-response-lock",
        file: "challenge-response-1.0",
        lock_half: true,
        elf: "F0544150444F4F52A1",
        module: "F0544150444F4F52A102",
        aid: Aid::CHALLENGE_RESPONSE_LOCK,
        peer: Aid::CHALLENGE_RESPONSE,
        method: None,
    },
    Packaged {
        name: "aka",
        file: "two-methods-1.0",
        lock_half: false,
        elf: "F0544150444F4F52A2",
        module: "F0544150444F4F52A201",
        aid: Aid::AKA,
        peer: Aid::AKA,
        method: Some(Method::Aka),
    },
    Packaged {
        name: "aka-lock",
        file: "two-methods-1.0",
        lock_half: true,
        elf: "F0544150444F4F52A2",
        module: "F0544150444F4F52A202",
        aid: Aid::AKA_LOCK,
        peer: Aid::AKA,
        method: Some(Method::Aka),
    },
];

/// The load files, with their names in the folder, signed with the provider's key. Empty if that is no key.
pub(super) fn load_files(provider: &[u8; 32]) -> Vec<(String, Vec<u8>)> {
    [("challenge-response-1.0", CHALLENGE_RESPONSE), ("two-methods-1.0", TWO_METHODS)]
        .into_iter()
        .filter_map(|(name, module)| {
            let file = LoadFile::signed(module, Aid::CARD_MANAGER, |hash| sign::sign(provider, hash))?;
            Some((format!("apps/{name}.load"), file))
        })
        .collect()
}

/// `[[applications]]` of server.toml.
pub(super) fn tables() -> String {
    let mut out = String::new();
    for p in &PACKAGED {
        let _ = write!(
            out,
            "\n[[applications]]\nname = \"{}\"\nversion = \"1.0\"\nprovider = \"{PROVIDER}\"\nhalf = \"{}\"\nelf = \"{}\"\nmodule = \"{}\"\n\
             aid = \"{}\"\npeer = \"{}\"\nload-file = \"apps/{}.load\"\n",
            p.name,
            if p.lock_half { "lock" } else { "phone" },
            p.elf,
            p.module,
            p.aid,
            p.peer,
            p.file,
        );
        if let Some(method) = p.method {
            let _ = write!(
                out,
                "# Which of its methods: 8E 01 01 challenge-response, 8E 01 02 AKA.\nparameters = \"8E01{:02X}\"\n",
                method as u8
            );
        }
    }
    out
}
