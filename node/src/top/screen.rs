//! Where somebody looks, and what keys change about that.

/// What the lower part shows where there is no room for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Section {
    /// Queues of tasks.
    #[default]
    Queues,
    /// Agents of the node that is asked.
    Agents,
    /// Links of all nodes.
    Links,
    /// How long rounds, commits and syncs take.
    Rounds,
    /// All problems.
    Problems,
}

impl Section {
    /// All of them, in the order of their keys.
    pub const ALL: [Section; 5] = [
        Section::Queues,
        Section::Agents,
        Section::Links,
        Section::Rounds,
        Section::Problems,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Section::Queues => "queues",
            Section::Agents => "agents",
            Section::Links => "links",
            Section::Rounds => "rounds",
            Section::Problems => "problems",
        }
    }

    fn place(self) -> usize {
        let place = Section::ALL.iter().position(|section| *section == self);
        place.expect("all of them are listed")
    }
}

/// A key that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// `q`, Escape or Ctrl-C.
    Quit,
    /// Tab, or the arrow to the right.
    Next,
    /// Shift and Tab, or the arrow to the left.
    Previous,
    /// 1 to 5.
    Choose(Section),
    /// The arrow, or `k`.
    Up,
    /// The arrow, or `j`.
    Down,
    /// A page of lines.
    PageUp,
    /// A page of lines.
    PageDown,
    /// The beginning.
    Home,
    /// `p` or space: what is shown stays.
    Pause,
    /// `?` or `h`.
    Help,
}

/// How many lines a page is.
const PAGE: usize = 10;

/// Where somebody looks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    /// The section of the lower part.
    pub section: Section,
    /// How many of its lines are above what is shown. Drawing bounds it.
    pub scroll: usize,
    /// Whether what is shown stays.
    pub paused: bool,
    /// Whether the keys are shown.
    pub help: bool,
    /// Whether somebody wants to end.
    pub ended: bool,
}

impl Screen {
    /// Somebody has pressed a key.
    pub fn press(&mut self, key: Key) {
        let turn = |by: usize| Section::ALL[(self.section.place() + by) % Section::ALL.len()];
        match key {
            Key::Quit if self.help => self.help = false,
            Key::Quit => self.ended = true,
            Key::Next => self.choose(turn(1)),
            Key::Previous => self.choose(turn(Section::ALL.len() - 1)),
            Key::Choose(section) => self.choose(section),
            Key::Up => self.scroll = self.scroll.saturating_sub(1),
            Key::Down => self.scroll += 1,
            Key::PageUp => self.scroll = self.scroll.saturating_sub(PAGE),
            Key::PageDown => self.scroll += PAGE,
            Key::Home => self.scroll = 0,
            Key::Pause => self.paused = !self.paused,
            Key::Help => self.help = !self.help,
        }
    }

    fn choose(&mut self, section: Section) {
        self.section = section;
        self.scroll = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_turn_through_the_sections_scroll_and_end() {
        let mut screen = Screen::default();
        screen.press(Key::Previous);
        assert_eq!(screen.section, Section::Problems);
        screen.press(Key::Next);
        assert_eq!(screen.section, Section::Queues);
        screen.press(Key::Down);
        screen.press(Key::PageDown);
        screen.press(Key::Up);
        assert_eq!(screen.scroll, 10);
        screen.press(Key::Choose(Section::Links));
        assert_eq!((screen.section, screen.scroll), (Section::Links, 0));
        screen.press(Key::Pause);
        screen.press(Key::Help);
        assert!(screen.paused && screen.help);
        // The first one only closes the help.
        screen.press(Key::Quit);
        assert!(!screen.help && !screen.ended);
        screen.press(Key::Quit);
        assert!(screen.ended);
    }
}
