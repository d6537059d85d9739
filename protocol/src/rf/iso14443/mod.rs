//! ISO/IEC 14443: initialization and anticollision of types A and B (part 3), and the block protocol ISO-DEP (part 4).

pub mod card;
pub mod dep;
pub mod type_a;
pub mod type_b;
