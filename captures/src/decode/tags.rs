//! Names of data objects, by the template that they stand in (ISO/IEC 7816-4 5.3.3 and 7816-6, TS 102 221 11.1.1.3, GPC 11, EMV).

/// Objects of FCI, FCP and FMD templates, and of answers to GET DATA, whoever sends them.
const GENERAL: &[(u32, &str)] = &[
    (0x42, "issuer identification"),
    (0x45, "card image number"),
    (0x4F, "AID"),
    (0x50, "application label"),
    (0x53, "discretionary data"),
    (0x57, "track 2"),
    (0x5A, "account number"),
    (0x5C, "tag list"),
    (0x5F20, "holder's name"),
    (0x5F24, "expiry date"),
    (0x5F2D, "languages"),
    (0x5F34, "account sequence number"),
    (0x61, "application template"),
    (0x62, "FCP"),
    (0x64, "FMD"),
    (0x66, "card data"),
    (0x67, "card capabilities"),
    (0x6F, "FCI"),
    (0x70, "record"),
    (0x73, "discretionary template"),
    (0x77, "answer template"),
    (0x7F49, "public key"),
    (0x7F66, "extended length"),
    (0x80, "file size"),
    (0x81, "total file size"),
    (0x82, "file descriptor"),
    (0x83, "file id"),
    (0x84, "DF name"),
    (0x86, "security attributes"),
    (0x87, "priority"),
    (0x88, "short file id"),
    (0x8A, "life cycle"),
    (0x8B, "security reference"),
    (0x8C, "access rules"),
    (0x8F, "CA key index"),
    (0x94, "file locator"),
    (0x9F02, "amount"),
    (0x9F10, "issuer data"),
    (0x9F11, "code table"),
    (0x9F12, "preferred name"),
    (0x9F26, "cryptogram"),
    (0x9F27, "cryptogram information"),
    (0x9F36, "transaction counter"),
    (0x9F37, "unpredictable number"),
    (0x9F38, "PDOL"),
    (0x9F4D, "log entry"),
    (0x9F65, "longest data field"),
    (0x9F66, "terminal qualifiers"),
    (0x9F6E, "life cycle data"),
    (0x9F7F, "production life cycle"),
    (0xA5, "proprietary"),
    (0xBF0C, "issuer discretionary"),
    (0xC6, "PIN status"),
    (0xE0, "key information"),
];

/// Objects of an application in the answer to GET STATUS.
const REGISTRY: &[(u32, &str)] = &[
    (0x4F, "AID"),
    (0x84, "module AID"),
    (0xC4, "load file AID"),
    (0xC5, "privileges"),
    (0xC6, "volatile memory"),
    (0xC7, "stored memory"),
    (0xCC, "security domain AID"),
    (0xCE, "version"),
    (0xCF, "implicit selection"),
    (0xE3, "application"),
    (0x9F70, "life cycle"),
];

/// Which names count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Dictionary {
    #[default]
    General,
    /// Inside an FCI of Aliro.
    Aliro,
    /// Inside E3.
    Registry,
}

pub(super) fn name(tag: u32, dictionary: Dictionary) -> Option<&'static str> {
    let table = match dictionary {
        Dictionary::General => GENERAL,
        Dictionary::Registry => REGISTRY,
        Dictionary::Aliro => match tag {
            0x80 => return Some("application type"),
            0x5C => return Some("protocol versions"),
            0x7F66 => return Some("longest APDUs"),
            0xB3 => return Some("vendor information"),
            _ => GENERAL,
        },
    };
    // Some thirty entries, of which the callers want a handful: no index is worth it.
    table.iter().find(|(known, _)| *known == tag).map(|(_, name)| *name)
}
