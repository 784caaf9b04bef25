"""Papers on quantum registers, cells of many levels and associative memories; part of ``papers``."""

from analogsim.base.literature import Paper

PAPERS_OF_QUANTA = (
    Paper(
        key="nielsen2010",
        authors=("Nielsen, Michael A.", "Chuang, Isaac L."),
        title="Quantum Computation and Quantum Information: 10th Anniversary Edition",
        venue="Cambridge University Press", year=2010, doi="10.1017/CBO9780511976667", details_recalled=True,
    ),
    Paper(
        key="krantz2019",
        authors=("Krantz, Philip",),
        more_authors=True,
        title="A quantum engineer's guide to superconducting qubits",
        venue="Appl. Phys. Rev.", volume="6", pages="021318", year=2019, doi="10.1063/1.5089550", arxiv="1904.06560",
        details_recalled=True,
    ),
    Paper(
        key="mottonen2005",
        authors=("Möttönen, Mikko", "Vartiainen, Juha J.", "Bergholm, Ville", "Salomaa, Martti M."),
        title="Transformation of quantum states using uniformly controlled rotations",
        venue="Quantum Inf. Comput.", volume="5", pages="467-473", year=2005,
        url="https://arxiv.org/abs/quant-ph/0407010", details_recalled=True,
    ),
    Paper(
        key="dalibard1992",
        authors=("Dalibard, Jean", "Castin, Yvan", "Mølmer, Klaus"),
        title="Wave-function approach to dissipative processes in quantum optics",
        venue="Phys. Rev. Lett.", volume="68", pages="580-583", year=1992, doi="10.1103/PhysRevLett.68.580",
        details_recalled=True,
    ),
    Paper(
        key="holevo1973",
        authors=("Holevo, Alexander S.",),
        title="Bounds for the quantity of information transmitted by a quantum communication channel",
        venue="Probl. Inf. Transm.", volume="9", pages="177-183", year=1973, url="https://www.mathnet.ru/eng/ppi903",
        details_recalled=True,
    ),
    Paper(
        key="kerenidis2020",
        authors=("Kerenidis, Iordanis", "Prakash, Anupam"),
        title="A Quantum Interior Point Method for LPs and SDPs",
        venue="ACM Trans. Quantum Comput.", volume="1", year=2020, arxiv="1808.09266", details_recalled=True,
    ),
    Paper(
        key="hann2021",
        authors=("Hann, Connor T.", "Lee, Gideon", "Girvin, S. M.", "Jiang, Liang"),
        title="Resilience of Quantum Random Access Memory to Generic Noise",
        venue="PRX Quantum", volume="2", pages="020311", year=2021, doi="10.1103/PRXQuantum.2.020311",
        arxiv="2012.05340", details_recalled=True,
    ),
    Paper(
        key="arunachalam2015",
        authors=(
            "Arunachalam, Srinivasan", "Gheorghiu, Vlad", "Jochym-O'Connor, Tomas", "Mosca, Michele",
            "Srinivasan, Priyaa Varshinee",
        ),
        title="On the robustness of bucket brigade quantum RAM",
        venue="New J. Phys.", volume="17", pages="123010", year=2015, arxiv="1502.03450", details_recalled=True,
    ),
    Paper(
        key="landauer1961",
        authors=("Landauer, Rolf",),
        title="Irreversibility and Heat Generation in the Computing Process",
        venue="IBM J. Res. Dev.", volume="5", pages="183-191", year=1961, doi="10.1147/rd.53.0183",
        details_recalled=True,
    ),
    Paper(
        key="blahut1972",
        authors=("Blahut, Richard E.",),
        title="Computation of channel capacity and rate-distortion functions",
        venue="IEEE Trans. Inf. Theory", volume="18", pages="460-473", year=1972, doi="10.1109/TIT.1972.1054855",
        details_recalled=True,
    ),
    Paper(
        key="ramsauer2020",
        authors=("Ramsauer, Hubert",),
        more_authors=True,
        title="Hopfield Networks is All You Need",
        year=2020, arxiv="2008.02217", details_recalled=True,
    ),
    Paper(
        key="hopfield1982",
        authors=("Hopfield, J. J.",),
        title="Neural networks and physical systems with emergent collective computational abilities",
        venue="Proc. Natl. Acad. Sci.", volume="79", pages="2554-2558", year=1982, doi="10.1073/pnas.79.8.2554",
        details_recalled=True,
    ),
    Paper(
        key="amit1985",
        authors=("Amit, Daniel J.", "Gutfreund, Hanoch", "Sompolinsky, Haim"),
        title="Storing Infinite Numbers of Patterns in a Spin-Glass Model of Neural Networks",
        venue="Phys. Rev. Lett.", volume="55", pages="1530-1533", year=1985, doi="10.1103/PhysRevLett.55.1530",
        details_recalled=True,
    ),
    Paper(
        key="plate1995",
        authors=("Plate, Tony A.",),
        title="Holographic reduced representations",
        venue="IEEE Trans. Neural Netw.", volume="6", pages="623-641", year=1995, doi="10.1109/72.377968",
        details_recalled=True,
    ),
    Paper(
        key="drineas2006",
        authors=("Drineas, Petros", "Kannan, Ravi", "Mahoney, Michael W."),
        title="Fast Monte Carlo Algorithms for Matrices I: Approximating Matrix Multiplication",
        venue="SIAM J. Comput.", volume="36", pages="132-157", year=2006, doi="10.1137/S0097539704442684",
        details_recalled=True,
    ),
)  # fmt: skip
