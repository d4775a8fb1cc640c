//! What the blocks of a snapshot hold: position and members, then the colony, as they are written and read piece by
//! piece.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};

use openraft::type_config::alias::{LogIdOf, SnapshotMetaOf};
use queenright_protocol::colony::{Colony, ImageError, Pair};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::file::{Head, Reader, SnapshotError, Writer};
use crate::consensus::types::TypeConfig;

type Meta = SnapshotMetaOf<TypeConfig>;

/// The first part of an image.
#[derive(Serialize, Deserialize)]
struct Position {
    last_log_id: Option<LogIdOf<TypeConfig>>,
    last_membership: openraft::type_config::alias::StoredMembershipOf<TypeConfig>,
}

/// Writes the image of a state. `meta` says at which position it is.
pub(super) fn write(writer: Writer, meta: &Meta, colony: &Colony) -> io::Result<(File, Head)> {
    let mut out = BufWriter::with_capacity(super::file::BLOCK_BYTES, writer);
    let position = Position {
        last_log_id: meta.last_log_id,
        last_membership: meta.last_membership.clone(),
    };
    write_part(&mut out, &position)?;
    write_part(&mut out, &colony.meta())?;
    for (key, value) in colony.pairs() {
        for length in [key.len(), value.len()] {
            let length = u32::try_from(length).map_err(io::Error::other)?;
            out.write_all(&length.to_be_bytes())?;
        }
        out.write_all(&key)?;
        out.write_all(&value)?;
    }
    let writer = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    writer.finish()
}

fn write_part<T: Serialize>(out: &mut impl Write, part: &T) -> io::Result<()> {
    let bytes = bincode::serialize(part).map_err(io::Error::other)?;
    out.write_all(&(bytes.len() as u64).to_be_bytes())?;
    out.write_all(&bytes)
}

/// Reads only the position and the members.
pub(super) fn read_meta(file: &File, head: Head) -> Result<Meta, SnapshotError> {
    let mut reader = Reader::new(file, head);
    let Position {
        last_log_id,
        last_membership,
    } = read_part(&mut reader)?;
    let (term, index) = last_log_id.map_or((0, 0), |id| (id.leader_id.term, id.index));
    if (term, index) != (head.term, head.index) {
        return Err(SnapshotError::damaged(format_args!(
            "its head says entry {} of term {}, its image entry {index} of term {term}",
            head.index, head.term
        )));
    }
    Ok(Meta {
        last_log_id,
        last_membership,
    })
}

/// Reads the state.
pub(super) fn read_colony(file: &File, head: Head) -> Result<Colony, SnapshotError> {
    let mut reader = Reader::new(file, head);
    read_part::<Position>(&mut reader)?;
    let meta = read_part(&mut reader)?;
    let mut pairs = Pairs { reader, problem: None };
    let colony = Colony::restore_in_order(meta, &mut pairs);
    match pairs.problem {
        Some(problem) => Err(problem),
        None => colony.map_err(|error| match error {
            ImageError::UnknownRules { .. } => SnapshotError::OtherBuild(error.to_string()),
            damage => SnapshotError::damaged(damage),
        }),
    }
}

fn read_part<T: DeserializeOwned>(reader: &mut Reader<'_>) -> Result<T, SnapshotError> {
    let mut length = [0; 8];
    reader.read_exact(&mut length).map_err(SnapshotError::of_read)?;
    let bytes = read_bytes(reader, u64::from_be_bytes(length))?;
    bincode::deserialize(&bytes).map_err(SnapshotError::damaged)
}

/// Reads as many bytes, if so many are left.
fn read_bytes(reader: &mut Reader<'_>, length: u64) -> Result<Vec<u8>, SnapshotError> {
    let left = reader.left();
    if length > left {
        return Err(SnapshotError::damaged(format_args!(
            "{length} B are to follow, {left} do"
        )));
    }
    let mut bytes = vec![0; length as usize];
    reader.read_exact(&mut bytes).map_err(SnapshotError::of_read)?;
    Ok(bytes)
}

/// The pairs of an image, up to its end or its first problem.
struct Pairs<'a> {
    reader: Reader<'a>,
    problem: Option<SnapshotError>,
}

impl Pairs<'_> {
    fn read(&mut self) -> Result<Pair, SnapshotError> {
        let mut lengths = [0; 8];
        self.reader.read_exact(&mut lengths).map_err(SnapshotError::of_read)?;
        let [k0, k1, k2, k3, v0, v1, v2, v3] = lengths;
        let key = read_bytes(&mut self.reader, u32::from_be_bytes([k0, k1, k2, k3]).into())?;
        let value = read_bytes(&mut self.reader, u32::from_be_bytes([v0, v1, v2, v3]).into())?;
        Ok((key, value))
    }
}

impl Iterator for Pairs<'_> {
    type Item = Pair;

    fn next(&mut self) -> Option<Pair> {
        if self.problem.is_some() || self.reader.left() == 0 {
            return None;
        }
        match self.read() {
            Ok(pair) => Some(pair),
            Err(problem) => {
                self.problem = Some(problem);
                None
            }
        }
    }
}
