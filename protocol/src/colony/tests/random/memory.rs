//! Changes of keys.

use super::*;

impl Seeded {
    pub(super) fn key(&mut self) -> Key {
        match self.below(60) {
            0 => "".into(),
            1 => "a\0b".into(),
            2 => "k".repeat(KEY_BYTES_MAX + 1).into(),
            _ => self.pick(&["a", "b", "c", "d", "dir/e", "dir/é", "dir/sub/f"]).into(),
        }
    }

    pub(super) fn tags(&mut self) -> Vec<Arc<str>> {
        match self.below(30) {
            0 => vec!["t".into(); TAGS_MAX + 1],
            1 => vec!["t".repeat(TAG_BYTES_MAX + 1).into()],
            2 => vec!["urgent".into(), "draft".into()],
            3 => vec!["draft".into(), "draft".into()],
            4..8 => vec!["draft".into(), "urgent".into()],
            _ => Vec::new(),
        }
    }

    fn content(&mut self) -> Content {
        let fill = b'a' + self.below(3) as u8;
        match self.below(6) {
            0 => Content::Inline(large(fill).into()),
            1 => Content::Kept(ContentHash::of(&large(fill))),
            _ => {
                let texts: [&str; 9] = [
                    "1",
                    "-7",
                    "+3",
                    "9223372036854775800",
                    "",
                    "x",
                    "a\nb",
                    "b\na",
                    "a\na\nc",
                ];
                let value = self.pick(&texts).as_bytes().to_vec();
                let value = if self.once_in(20) { vec![0xff] } else { value };
                Content::Inline(value.into())
            }
        }
    }

    pub(super) fn op(&mut self) -> Op {
        match self.below(11) {
            0..4 => Op::Put(self.content()),
            4 => Op::Delete,
            5 | 6 => Op::Increment(self.pick(&[1, 5, -2, i64::MAX])),
            7 => Op::Max(self.below(20) as i64 - 5),
            8 => Op::Append(self.pick(&["7", "\nz", ""]).into()),
            _ => Op::SetAdd(self.pick(&["a", "b", "zz", "", "m\nn"]).into()),
        }
    }

    /// A revision that is most often the present one.
    pub(super) fn revision(&mut self, memory: &Memory, key: &str) -> u64 {
        let present = memory.revision(key);
        match self.below(8) {
            0 => present + 1,
            1 => present.saturating_sub(1),
            _ => present,
        }
    }

    /// A merge of a text of few lines with one that is most often there.
    pub(super) fn merge(&mut self, memory: &Memory, key: &str) -> Merge {
        let record = memory.record(key);
        let present = record
            .and_then(|record| record.value.as_ref())
            .map(|value| value.bytes.clone());
        let texts = [
            "1\n2\n3\n4\n",
            "0\n1\n2\n3\n4\n",
            "1\n2\n3\n4\n5\n",
            "1\n2\nx\n4\n",
            "1\n2\ny\n4\n",
            "a\nb",
        ];
        let mut text = || Content::Inline(Bytes::from(self.pick(&texts)));
        let base = present.map(Content::Inline);
        let (other, theirs) = (text(), text());
        Merge {
            base: match self.below(6) {
                0 => None,
                1 => base,
                2 => Some(self.content()),
                _ => Some(other),
            },
            base_tags: match (record, self.below(4)) {
                (Some(record), 1..) => record.tags.clone(),
                _ => self.tags(),
            },
            theirs,
        }
    }

    pub(super) fn condition(&mut self, memory: &Memory, key: &str) -> Condition {
        match self.below(5) {
            0 => Condition::IfAbsent,
            1 => Condition::IfRevision(self.revision(memory, key)),
            _ => Condition::None,
        }
    }
}
