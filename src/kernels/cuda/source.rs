//! The kernels' sources, and the units that they are compiled in: a file, the type of its numbers, a head's width.

/// The type of activations, gradients and multiplied weights. Sums are f32 in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Element {
    /// Exact and slow: to compare with.
    F32,
    /// What is trained in.
    Bf16,
}

impl Element {
    /// Bytes of a number.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }

    /// `f32`, `bf16`
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }
}

macro_rules! sources {
    ($($name:literal),+) => {
        const SOURCES: &[(&str, &str)] = &[$(($name, include_str!(concat!($name, ".cu")))),+];
    };
}

sources!("activation", "adamw", "attention", "cross_entropy", "dequant", "fp8", "norm", "rope", "rows");

const PRIMITIVES: &str = include_str!("ptx.cuh");
const COMMON: &str = include_str!("common.cuh");

/// The source that is compiled once for each width of a head.
const BY_HEAD: &str = "attention";

/// What is compiled in one go, and loaded as one module.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unit {
    source: usize,
    /// The type of its numbers.
    pub element: Element,
    head: Option<usize>,
}

impl Unit {
    /// Every unit there is.
    pub fn all() -> Vec<Self> {
        let elements = |source| [Element::F32, Element::Bf16].map(|element| (source, element));
        let heads = |(source, element): (usize, Element)| -> Vec<Self> {
            let widths: &[usize] = match (SOURCES[source].0 == BY_HEAD, element) {
                (false, _) => return vec![Self { source, element, head: None }],
                // 256 columns of f32 would not fit the shared memory of every card
                (true, Element::F32) => &[64, 128],
                (true, Element::Bf16) => &[64, 128, 256],
            };
            widths.iter().map(|head| Self { source, element, head: Some(*head) }).collect()
        };
        (0..SOURCES.len()).flat_map(elements).flat_map(heads).collect()
    }

    /// The units that a training step asks for, over heads of `dim` columns.
    pub fn of_step(dim: usize, element: Element) -> Vec<Self> {
        let plain = ["activation", "adamw", "cross_entropy", "dequant", "norm", "rope", "rows"];
        let plain = plain.into_iter().map(|name| Self::of(name, element));
        // the gradient is f32 whatever is multiplied
        let squares = (element != Element::F32).then(|| Self::of("adamw", Element::F32));
        plain.chain(squares).chain(Self::of_heads(dim, element)).collect()
    }

    /// The unit of a source file, without its ending.
    ///
    /// # Panics
    /// When there is no such file, or it is one of heads.
    pub(super) fn of(name: &str, element: Element) -> Self {
        let source = SOURCES.iter().position(|(n, _)| *n == name).expect("a source of this folder");
        assert_ne!(name, BY_HEAD, "a head's width is needed");
        Self { source, element, head: None }
    }

    /// The unit of attention over heads of `dim` columns; `None` where they are too wide.
    pub fn of_heads(dim: usize, element: Element) -> Option<Self> {
        let units = Self::all().into_iter();
        units.filter(|u| u.element == element && u.head.is_some_and(|head| head >= dim)).min_by_key(|u| u.head)
    }

    /// The head's width that it is compiled for.
    pub(super) fn head(self) -> Option<usize> {
        self.head
    }

    /// `attention.cu bf16 128`
    pub fn name(self) -> String {
        format!("{}.cu {}", SOURCES[self.source].0, self.variant())
    }

    /// `bf16 128`, by which the shim's kernels are called.
    pub(super) fn variant(self) -> String {
        let head = self.head.map_or(String::new(), |head| format!(" {head}"));
        format!("{}{head}", self.element.name())
    }

    /// All that the compiler reads.
    pub fn text(self) -> String {
        let real = match self.element {
            Element::F32 => "#define IN_F32\ntypedef float real;\n",
            Element::Bf16 => "typedef bf16 real;\n",
        };
        let head = self.head.map_or(String::new(), |head| format!("#define HEAD {head}\n"));
        [PRIMITIVES, COMMON, real, &head, SOURCES[self.source].1].concat()
    }

    /// Bytes a thread that the source's head says a kernel spills: `// Spills: KERNEL BYTES`; 0 where it says nothing.
    pub fn spills_owned(self, kernel: &str) -> u32 {
        let lines = SOURCES[self.source].1.lines().filter_map(|line| line.strip_prefix("// Spills: "));
        let of_kernel = |line: &str| line.strip_prefix(kernel)?.trim().parse().ok();
        lines.filter_map(of_kernel).max().unwrap_or(0)
    }
}
