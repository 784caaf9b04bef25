"""Every paper that the project's numbers rest on, once, and ``cited`` to name it behind a field.

    _JOSHI = cited("joshi2020", note="coefficients as in aihwkit")
    g_max: Any = field(default=25e-6, unit="S", source=_JOSHI)

Titles, authors and numbers were compared with public records; a paper whose details were not says ``details_recalled``.
"""

from analogsim.base.errors import InputError, nearest
from analogsim.base.literature import Paper, Source
from analogsim.base.papers_of_light import PAPERS_OF_LIGHT
from analogsim.base.papers_of_quanta import PAPERS_OF_QUANTA


def cited(*keys: str, note: str = "", recalled: bool = False) -> Source:
    """A source by the keys of its papers.

    Args:
      *keys: of ``PAPERS``.
      note: how the figure follows from them.
      recalled: whether it was recalled and is still to be checked against the paper.

    Example:
      >>> str(cited("jouppi2021", note="fp32, 7 nm", recalled=True))
      'Jouppi et al., ISCA 2021, doi 10.1109/ISCA52012.2021.00010; fp32, 7 nm (recalled)'
    """
    for key in keys:
        if key not in PAPERS:
            raise InputError(f"unknown paper {key!r}; {nearest(str(key), PAPERS)}")
    return Source(tuple(PAPERS[key] for key in keys), note, recalled)


_PAPERS = (
    # Cells and arrays
    Paper(
        key="joshi2020",
        authors=(
            "Joshi, Vinay", "Le Gallo, Manuel", "Haefeli, Simon", "Boybat, Irem", "Nandakumar, S. R.",
            "Piveteau, Christophe", "Dazzi, Martino", "Rajendran, Bipin", "Sebastian, Abu", "Eleftheriou, Evangelos",
        ),
        title="Accurate deep neural network inference using computational phase-change memory",
        venue="Nat. Commun.", volume="11", pages="2473", year=2020, doi="10.1038/s41467-020-16108-9",
    ),
    Paper(
        key="nandakumar2019",
        authors=(
            "Nandakumar, S. R.", "Boybat, Irem", "Joshi, Vinay", "Piveteau, Christophe", "Le Gallo, Manuel",
            "Rajendran, Bipin", "Sebastian, Abu", "Eleftheriou, Evangelos",
        ),
        title="Phase-Change Memory Models for Deep Learning Training and Inference",
        venue="ICECS", proceedings="IEEE International Conference on Electronics, Circuits and Systems (ICECS)",
        year=2019, doi="10.1109/ICECS46596.2019.8964852",
    ),
    Paper(
        key="legallo2018",
        authors=(
            "Le Gallo, Manuel", "Sebastian, Abu", "Cherubini, Giovanni", "Giefers, Heiner", "Eleftheriou, Evangelos",
        ),
        title="Compressed Sensing With Approximate Message Passing Using In-Memory Computing",
        venue="IEEE Trans. Electron Devices", volume="65", pages="4304-4312", year=2018,
        doi="10.1109/TED.2018.2865352",
    ),
    Paper(
        key="legallo2023",
        authors=(
            "Le Gallo, Manuel", "Khaddam-Aljameh, Riduan", "Stanisavljević, Miloš", "Vasilopoulos, Athanasios",
            "Kersting, Benedikt", "Dazzi, Martino", "Karunaratne, Geethan", "Brändli, Matthias", "Singh, Abhairaj",
            "Müller, Silvia M.", "Büchel, Julian", "Timoneda, Xavier", "Joshi, Vinay", "Rasch, Malte J.", "Egger, Urs",
            "Garofalo, Angelo", "Petropoulos, Anastasios", "Antonakopoulos, Theodore", "Brew, Kevin", "Choi, Samuel",
            "Ok, Injo", "Philip, Timothy", "Chan, Victor", "Silvestre, Claire", "Ahsan, Ishtiaq", "Saulnier, Nicole",
            "Narayanan, Vijay", "Francese, Pier Andrea", "Eleftheriou, Evangelos", "Sebastian, Abu",
        ),
        title="A 64-core mixed-signal in-memory compute chip based on phase-change memory for deep neural network "
        "inference",
        venue="Nat. Electron.", volume="6", pages="680-693", year=2023, doi="10.1038/s41928-023-01010-1",
    ),
    Paper(
        key="khaddam2022",
        authors=(
            "Khaddam-Aljameh, Riduan", "Stanisavljević, Miloš", "Fornt, Jordi", "Karunaratne, Geethan",
            "Brändli, Matthias", "Liu, Feng", "Singh, Abhairaj", "Müller, Silvia M.", "Egger, Urs",
            "Petropoulos, Anastasios", "Antonakopoulos, Theodore", "Brew, Kevin W.",
        ),
        more_authors=True,
        title="HERMES-Core: A 1.59-TOPS/mm2 PCM on 14-nm CMOS In-Memory Compute Core Using 300-ps/LSB Linearized "
        "CCO-Based ADCs",
        venue="IEEE J. Solid-State Circuits", volume="57", pages="1027-1038", year=2022,
        doi="10.1109/JSSC.2022.3140414",
    ),
    Paper(
        key="vasilopoulos2023",
        authors=("Vasilopoulos, Athanasios",),
        more_authors=True,
        title="Exploiting the State Dependency of Conductance Variations in Memristive Devices for Accurate In-Memory "
        "Computing",
        venue="IEEE Trans. Electron Devices", year=2023, url="https://ieeexplore.ieee.org/document/10281389",
        details_recalled=True,
    ),
    Paper(
        key="wan2022",
        authors=(
            "Wan, Weier", "Kubendran, Rajkumar", "Schaefer, Clemens", "Eryilmaz, Sukru Burc", "Zhang, Wenqiang",
            "Wu, Dabin", "Deiss, Stephen", "Raina, Priyanka", "Qian, He", "Gao, Bin", "Joshi, Siddharth",
            "Wu, Huaqiang", "Wong, H.-S. Philip", "Cauwenberghs, Gert",
        ),
        title="A compute-in-memory chip based on resistive random-access memory",
        venue="Nature", volume="608", pages="504-512", year=2022, doi="10.1038/s41586-022-04992-8",
    ),
    Paper(
        key="falcone2025",
        authors=(
            "Falcone, Donato Francesco", "Clerico, Victoria", "Choi, Wooseok", "Stecconi, Tommaso", "Horst, Folkert",
            "Bégon-Lours, Laura", "Galetta, Matteo", "La Porta, Antonio", "Garg, Nikhil", "Alibart, Fabien",
            "Offrein, Bert Jan", "Bragaglia, Valeria",
        ),
        title="All-in-One Analog AI Hardware: On-Chip Training and Inference with Conductive-Metal-Oxide/HfOx ReRAM "
        "Devices",
        year=2025, arxiv="2502.04524",
    ),
    Paper(
        key="lombardo2024",
        authors=(
            "Lombardo, D. G. F.", "Ram, M. S.", "Stecconi, Tommaso", "Choi, Wooseok", "La Porta, Antonio",
            "Falcone, Donato Francesco", "Offrein, Bert Jan", "Bragaglia, Valeria",
        ),
        title="Read Noise Analysis in Analog Conductive-Metal-Oxide/HfOx ReRAM Devices",
        venue="Device Research Conference", proceedings="Device Research Conference (DRC)", year=2024,
        doi="10.1109/DRC61706.2024.10643760",
    ),
    Paper(
        key="agrawal2022",
        authors=(
            "Agrawal, V.", "Xiao, T. P.", "Bennett, C. H.", "Feinberg, B.", "Shetty, S.", "Ramkumar, K.", "Medu, H.",
            "Thekkekara, K.", "Chettuvetty, R.", "Leshner, S.", "Luzada, Z.", "Hinh, L.", "Phan, T.",
            "Marinella, M. J.", "Agarwal, S.",
        ),
        title="Subthreshold operation of SONOS analog memory to enable accurate low-power neural network inference",
        venue="IEDM", proceedings="IEEE International Electron Devices Meeting (IEDM)", pages="21.7.1-21.7.4",
        year=2022, url="https://ieeexplore.ieee.org/document/10019564",
    ),
    Paper(
        key="xiao2022sonos",
        authors=(
            "Xiao, T. Patrick", "Feinberg, Ben", "Bennett, Christopher H.", "Agrawal, Vineet", "Saxena, Prashant",
            "Prabhakar, Venkatraman", "Ramkumar, Krishnaswamy", "Medu, Harsha", "Raghavan, Vijay",
            "Chettuvetty, Ramesh", "Agarwal, Sapan", "Marinella, Matthew J.",
        ),
        title="An Accurate, Error-Tolerant, and Energy-Efficient Neural Network Inference Engine Based on SONOS Analog "
        "Memory",
        venue="IEEE Trans. Circuits Syst. I", volume="69", pages="1480-1493", year=2022,
        doi="10.1109/TCSI.2021.3134313",
    ),
    Paper(
        key="milo2021",
        authors=(
            "Milo, V.", "Anzalone, F.", "Zambelli, C.", "Pérez, E.", "Mahadevaiah, M. K.", "Ossorio, O. G.",
            "Olivo, P.", "Wenger, C.", "Ielmini, D.",
        ),
        title="Optimized programming algorithms for multilevel RRAM in hardware neural networks",
        venue="IRPS", proceedings="IEEE International Reliability Physics Symposium (IRPS)", pages="1-6", year=2021,
        url="https://ieeexplore.ieee.org/document/9405119",
    ),
    Paper(
        key="xiao2022accuracy",
        authors=(
            "Xiao, T. Patrick", "Feinberg, Ben", "Bennett, Christopher H.", "Prabhakar, Venkatraman",
            "Saxena, Prashant", "Agrawal, Vineet", "Agarwal, Sapan", "Marinella, Matthew J.",
        ),
        title="On the Accuracy of Analog Neural Network Inference Accelerators",
        venue="IEEE Circuits Syst. Mag.", volume="22", pages="26-48", year=2022, doi="10.1109/MCAS.2022.3214409",
        arxiv="2109.01262",
    ),
    Paper(
        key="chen2013",
        authors=("Chen, An",),
        title="A Comprehensive Crossbar Array Model With Solutions for Line Resistance and Nonlinear Device "
        "Characteristics",
        venue="IEEE Trans. Electron Devices", volume="60", pages="1318-1326", year=2013,
        doi="10.1109/TED.2013.2246791",
    ),
    Paper(
        key="tang2018",
        authors=("Tang, Jianshi",),
        more_authors=True,
        title="ECRAM as Scalable Synaptic Cell for High-Speed, Low-Power Neuromorphic Computing",
        venue="IEDM", proceedings="IEEE International Electron Devices Meeting (IEDM)", year=2018,
        url="https://ieeexplore.ieee.org/document/8614551", details_recalled=True,
    ),
    Paper(
        key="kim2019",
        authors=("Kim, Seyoung",),
        more_authors=True,
        title="Metal-oxide based, CMOS-compatible ECRAM for Deep Learning Accelerator",
        venue="IEDM", proceedings="IEEE International Electron Devices Meeting (IEDM)", year=2019,
        url="https://ieeexplore.ieee.org/document/8993463", details_recalled=True,
    ),
    Paper(
        key="chen2023ecram",
        authors=("Chen, Peng",),
        more_authors=True,
        title="Open-loop analog programmable electrochemical memory array",
        venue="Nat. Commun.", volume="14", year=2023, doi="10.1038/s41467-023-41958-4", details_recalled=True,
    ),
    Paper(
        key="fuller2019",
        authors=("Fuller, Elliot J.",),
        more_authors=True,
        title="Parallel programming of an ionic floating-gate memory array for scalable neuromorphic computing",
        venue="Science", volume="364", pages="570-574", year=2019, doi="10.1126/science.aaw5581",
        details_recalled=True,
    ),
    Paper(
        key="jerry2017",
        authors=("Jerry, Matthew",),
        more_authors=True,
        title="Ferroelectric FET analog synapse for acceleration of deep neural network training",
        venue="IEDM", proceedings="IEEE International Electron Devices Meeting (IEDM)", year=2017,
        doi="10.1109/IEDM.2017.8268338", details_recalled=True,
    ),
    Paper(
        key="chenyu2019",
        authors=("Chen, Pai-Yu", "Yu, Shimeng"),
        title="Technological Benchmark of Analog Synaptic Devices for Neuroinspired Architectures",
        venue="IEEE Des. Test", volume="36", pages="31-38", year=2019, doi="10.1109/MDAT.2018.2890229",
        details_recalled=True,
    ),
    Paper(
        key="guo2016",
        authors=("Guo, Xinjie",),
        more_authors=True,
        title="Temperature-insensitive analog vector-by-matrix multiplier based on 55 nm NOR flash memory cells",
        year=2016, arxiv="1611.03379", details_recalled=True,
    ),
    Paper(
        key="merrikh2014",
        authors=("Merrikh Bayat, Farnood",),
        more_authors=True,
        title="Redesigning commercial floating-gate memory for analog computing applications",
        year=2014, arxiv="1410.4781", details_recalled=True,
    ),
    Paper(
        key="chen2015",
        authors=("Chen, Ching-Yi",),
        more_authors=True,
        title="RRAM Defect Modeling and Failure Analysis Based on March Test and a Novel Squeeze-Search Scheme",
        venue="IEEE Trans. Comput.", volume="64", pages="180-190", year=2015, doi="10.1109/TC.2014.12",
        details_recalled=True,
    ),
    Paper(
        key="alibart2012",
        authors=("Alibart, Fabien", "Gao, Ligang", "Hoskins, Brian D.", "Strukov, Dmitri B."),
        title="High precision tuning of state for memristive devices by adaptable variation-tolerant algorithm",
        venue="Nanotechnology", volume="23", pages="075201", year=2012, doi="10.1088/0957-4484/23/7/075201",
    ),
    Paper(
        key="shafiee2016",
        authors=(
            "Shafiee, Ali", "Nag, Anirban", "Muralimanohar, Naveen", "Balasubramonian, Rajeev", "Strachan, John Paul",
            "Hu, Miao", "Williams, R. Stanley", "Srikumar, Vivek",
        ),
        title="ISAAC: A Convolutional Neural Network Accelerator with In-Situ Analog Arithmetic in Crossbars",
        venue="ISCA", proceedings="ACM/IEEE International Symposium on Computer Architecture (ISCA)", pages="14-26",
        year=2016, doi="10.1109/ISCA.2016.12",
    ),
    Paper(
        key="mackin2022",
        authors=("Mackin, Charles",),
        more_authors=True,
        title="Optimised weight programming for analogue memory-based deep neural networks",
        venue="Nat. Commun.", volume="13", pages="3765", year=2022, doi="10.1038/s41467-022-31405-1",
        details_recalled=True,
    ),
    # Converters, training, toolkits
    Paper(
        key="esser2020",
        authors=(
            "Esser, Steven K.", "McKinstry, Jeffrey L.", "Bablani, Deepika", "Appuswamy, Rathinakumar",
            "Modha, Dharmendra S.",
        ),
        title="Learned Step Size Quantization",
        venue="ICLR", proceedings="International Conference on Learning Representations (ICLR)",
        year=2020, arxiv="1902.08153",
    ),
    Paper(
        key="wan2013",
        authors=("Wan, Li", "Zeiler, Matthew", "Zhang, Sixin", "Le Cun, Yann", "Fergus, Rob"),
        title="Regularization of Neural Networks using DropConnect",
        venue="ICML", proceedings="International Conference on Machine Learning (ICML)",
        pages="1058-1066", year=2013, url="https://proceedings.mlr.press/v28/wan13.html",
    ),
    Paper(
        key="rasch2023",
        authors=(
            "Rasch, Malte J.", "Mackin, Charles", "Le Gallo, Manuel", "Chen, An", "Fasoli, Andrea",
            "Odermatt, Frederic", "Li, Ning", "Nandakumar, S. R.", "Narayanan, Pritish", "Tsai, Hsinyu",
            "Burr, Geoffrey W.", "Sebastian, Abu", "Narayanan, Vijay",
        ),
        title="Hardware-aware training for large-scale and diverse deep learning inference workloads using in-memory "
        "computing-based accelerators",
        venue="Nat. Commun.", volume="14", pages="5282", year=2023, doi="10.1038/s41467-023-40770-4",
    ),
    Paper(
        key="max1960",
        authors=("Max, Joel",),
        title="Quantizing for minimum distortion",
        venue="IRE Trans. Inf. Theory", volume="6", pages="7--12", year=1960, doi="10.1109/TIT.1960.1057548",
        details_recalled=True,
    ),
    Paper(
        key="lloyd1982",
        authors=("Lloyd, Stuart P.",),
        title="Least squares quantization in PCM",
        venue="IEEE Trans. Inf. Theory", volume="28", pages="129--137", year=1982, doi="10.1109/TIT.1982.1056489",
        details_recalled=True,
    ),
    Paper(
        key="gokmen2017",
        authors=("Gokmen, Tayfun", "Onen, O. Murat", "Haensch, Wilfried"),
        title="Training Deep Convolutional Neural Networks with Resistive Cross-Point Devices",
        venue="Front. Neurosci.", volume="11", pages="538", year=2017, doi="10.3389/fnins.2017.00538",
        details_recalled=True,
    ),
    Paper(
        key="rasch2021",
        authors=(
            "Rasch, Malte J.", "Moreda, Diego", "Gokmen, Tayfun", "Le Gallo, Manuel", "Carta, Fabio",
            "Goldberg, Cindy", "El Maghraoui, Kaoutar", "Sebastian, Abu", "Narayanan, Vijay",
        ),
        title="A Flexible and Fast PyTorch Toolkit for Simulating Training and Inference on Analog Crossbar Arrays",
        venue="AICAS",
        proceedings="IEEE International Conference on Artificial Intelligence Circuits and Systems (AICAS)",
        pages="1-4", year=2021, doi="10.1109/AICAS51828.2021.9458494", arxiv="2104.02184",
    ),
    Paper(
        key="crosssim",
        authors=(
            "Xiao, T. Patrick", "Bennett, Christopher H.", "Feinberg, Ben", "Marinella, Matthew J.", "Agarwal, Sapan",
        ),
        title="CrossSim: accuracy simulation of analog in-memory computing",
        url="https://github.com/sandialabs/cross-sim",
    ),
    # Energy
    Paper(
        key="houshmand2023",
        authors=("Houshmand, Pouya", "Sun, Jiacong", "Verhelst, Marian"),
        title="Benchmarking and modeling of analog and digital SRAM in-memory computing architectures",
        year=2023, arxiv="2305.18335",
    ),
    Paper(
        key="horowitz2014",
        authors=("Horowitz, Mark",),
        title="1.1 Computing's energy problem (and what we can do about it)",
        venue="ISSCC", proceedings="IEEE International Solid-State Circuits Conference (ISSCC)", pages="10-14",
        year=2014, doi="10.1109/ISSCC.2014.6757323",
    ),
    Paper(
        key="stillmaker2017",
        authors=("Stillmaker, Aaron", "Baas, Bevan"),
        title="Scaling equations for the accurate prediction of CMOS device performance from 180 nm to 7 nm",
        venue="Integration", volume="58", pages="74-81", year=2017, doi="10.1016/j.vlsi.2017.02.002",
    ),
    Paper(
        key="rouhani2020",
        authors=(
            "Rouhani, Bita Darvish", "Lo, Daniel", "Zhao, Ritchie", "Liu, Ming", "Fowers, Jeremy", "Ovtcharov, Kalin",
        ),
        more_authors=True,
        title="Pushing the Limits of Narrow Precision Inferencing at Cloud Scale with Microsoft Floating Point",
        venue="NeurIPS", proceedings="Advances in Neural Information Processing Systems (NeurIPS)", year=2020,
        url="https://papers.nips.cc/paper/2020/hash/747e32ab0fea7fbd2ad9ec03daa3f840-Abstract.html",
    ),
    Paper(
        key="rouhani2023",
        authors=("Rouhani, Bita Darvish", "Zhao, Ritchie", "More, Ankit", "Hall, Mathew"),
        more_authors=True,
        title="Microscaling Data Formats for Deep Learning",
        year=2023, arxiv="2310.10537",
    ),
    Paper(
        key="mishra2021",
        authors=(
            "Mishra, Asit", "Latorre, Jorge Albericio", "Pool, Jeff", "Stosic, Darko", "Stosic, Dusan",
            "Venkatesh, Ganesh", "Yu, Chong", "Micikevicius, Paulius",
        ),
        title="Accelerating Sparse Deep Neural Networks",
        year=2021, arxiv="2104.08378",
    ),
    Paper(
        key="jouppi2023",
        authors=(
            "Jouppi, Norman P.", "Kurian, George", "Li, Sheng", "Ma, Peter", "Nagarajan, Rahul", "Nai, Lifeng",
            "Patil, Nishant", "Subramanian, Suvinay", "Swing, Andy", "Towles, Brian", "Young, Cliff", "Zhou, Xiang",
            "Zhou, Zongwei", "Patterson, David A.",
        ),
        title="TPU v4: An Optically Reconfigurable Supercomputer for Machine Learning with Hardware Support for "
        "Embeddings",
        venue="ISCA", proceedings="ACM/IEEE International Symposium on Computer Architecture (ISCA)", year=2023,
        doi="10.1145/3579371.3589350",
    ),
    Paper(
        key="jouppi2021",
        authors=(
            "Jouppi, Norman P.", "Yoon, Doe Hyun", "Ashcraft, Matthew", "Gottscho, Mark", "Jablin, Thomas B.",
            "Kurian, George", "Laudon, James", "Li, Sheng", "Ma, Peter", "Ma, Xiaoyu", "Norrie, Thomas",
            "Patil, Nishant", "Prasad, Sushma", "Young, Cliff", "Zhou, Zongwei", "Patterson, David",
        ),
        title="Ten Lessons From Three Generations Shaped Google's TPUv4i: Industrial Product",
        venue="ISCA", proceedings="ACM/IEEE International Symposium on Computer Architecture (ISCA)", pages="1-14",
        year=2021, doi="10.1109/ISCA52012.2021.00010",
    ),
    Paper(
        key="murmann2025",
        authors=("Murmann, Boris",),
        title="ADC Performance Survey 1997-2025",
        url="https://github.com/bmurmann/ADC-survey",
    ),
    Paper(
        key="dong2012",
        authors=("Dong, Xiangyu", "Xu, Cong", "Xie, Yuan", "Jouppi, Norman P."),
        title="NVSim: A Circuit-Level Performance, Energy, and Area Model for Emerging Nonvolatile Memory",
        venue="IEEE Trans. Comput.-Aided Des. Integr. Circuits Syst.", volume="31", pages="994-1007", year=2012,
        doi="10.1109/TCAD.2012.2185930",
    ),
    Paper(
        key="choi2013",
        authors=("Choi, Jee W.", "Bedard, Daniel", "Fowler, Robert J.", "Vuduc, Richard W."),
        title="A Roofline Model of Energy",
        venue="IPDPS", proceedings="IEEE International Symposium on Parallel and Distributed Processing (IPDPS)",
        year=2013, doi="10.1109/IPDPS.2013.77",
    ),
    Paper(
        key="oconnor2017",
        authors=(
            "O'Connor, Mike", "Chatterjee, Niladrish", "Lee, Donghyuk", "Wilson, John", "Agrawal, Aditya",
            "Keckler, Stephen W.", "Dally, William J.",
        ),
        title="Fine-Grained DRAM: Energy-Efficient DRAM for Extreme Bandwidth Systems",
        venue="MICRO", proceedings="IEEE/ACM International Symposium on Microarchitecture (MICRO)", pages="41-54",
        year=2017, doi="10.1145/3123939.3124545",
    ),
    Paper(
        key="gupta2022",
        authors=("Gupta, Udit",),
        more_authors=True,
        title="ACT: Designing Sustainable Computer Systems With an Architectural Carbon Modeling Tool",
        venue="ISCA", proceedings="International Symposium on Computer Architecture (ISCA)", year=2022,
        doi="10.1145/3470496.3527408", details_recalled=True,
    ),
    Paper(
        key="chen2016",
        authors=("Chen, Yu-Hsin", "Emer, Joel", "Sze, Vivienne"),
        title="Eyeriss: A Spatial Architecture for Energy-Efficient Dataflow for Convolutional Neural Networks",
        venue="ISCA", proceedings="ACM/IEEE International Symposium on Computer Architecture (ISCA)",
        pages="367-379", year=2016, doi="10.1109/ISCA.2016.40",
    ),
    Paper(
        key="chen2017",
        authors=("Chen, Yu-Hsin", "Krishna, Tushar", "Emer, Joel S.", "Sze, Vivienne"),
        title="Eyeriss: An Energy-Efficient Reconfigurable Accelerator for Deep Convolutional Neural Networks",
        venue="IEEE J. Solid-State Circuits", volume="52", pages="127-138", year=2017,
        doi="10.1109/JSSC.2016.2616357",
    ),
    Paper(
        key="attwell2001",
        authors=("Attwell, David", "Laughlin, Simon B."),
        title="An Energy Budget for Signaling in the Grey Matter of the Brain",
        venue="J. Cereb. Blood Flow Metab.", volume="21", pages="1133-1145", year=2001,
        doi="10.1097/00004647-200110000-00001",
    ),
    Paper(
        key="lennie2003",
        authors=("Lennie, Peter",),
        title="The Cost of Cortical Computation",
        venue="Curr. Biol.", volume="13", pages="493-497", year=2003, doi="10.1016/S0960-9822(03)00135-0",
    ),
    # Published systems and models that the energy account is checked against
    Paper(
        key="andrulis2024adc",
        authors=("Andrulis, Tanner", "Chen, Ruicong", "Lee, Hae-Seung", "Emer, Joel S.", "Sze, Vivienne"),
        title="Modeling Analog-Digital-Converter Energy and Area for Compute-In-Memory Accelerator Design",
        year=2024, arxiv="2404.06553", details_recalled=True,
    ),
    Paper(
        key="andrulis2024",
        authors=("Andrulis, Tanner", "Emer, Joel S.", "Sze, Vivienne"),
        title="CiMLoop: A Flexible, Accurate, and Fast Compute-In-Memory Modeling Tool",
        venue="ISPASS",
        proceedings="IEEE International Symposium on Performance Analysis of Systems and Software (ISPASS)",
        year=2024, arxiv="2405.07259", details_recalled=True,
    ),
    Paper(
        key="andrulis2023",
        authors=("Andrulis, Tanner", "Emer, Joel S.", "Sze, Vivienne"),
        title="RAELLA: Reforming the Arithmetic for Efficient, Low-Resolution, and Low-Loss Analog PIM: No Retraining "
        "Required!",
        venue="ISCA", proceedings="ACM/IEEE International Symposium on Computer Architecture (ISCA)", year=2023,
        doi="10.1145/3579371.3589062", details_recalled=True,
    ),
    Paper(
        key="ankit2019",
        authors=("Ankit, Aayush",),
        more_authors=True,
        title="PUMA: A Programmable Ultra-efficient Memristor-based Accelerator for Machine Learning Inference",
        venue="ASPLOS",
        proceedings="International Conference on Architectural Support for Programming Languages and Operating Systems "
        "(ASPLOS)",
        year=2019, doi="10.1145/3297858.3304049", details_recalled=True,
    ),
    Paper(
        key="ambrogio2023",
        authors=("Ambrogio, Stefano",),
        more_authors=True,
        title="An analog-AI chip for energy-efficient speech recognition and transcription",
        venue="Nature", volume="620", pages="768-775", year=2023, doi="10.1038/s41586-023-06337-5",
        details_recalled=True,
    ),
    Paper(
        key="jia2020",
        authors=("Jia, Hongyang", "Valavi, Hossein", "Tang, Yinqi", "Zhang, Jintao", "Verma, Naveen"),
        title="A Programmable Heterogeneous Microprocessor Based on Bit-Scalable In-Memory Computing",
        venue="IEEE J. Solid-State Circuits", volume="55", pages="2609-2621", year=2020,
        doi="10.1109/JSSC.2020.2987714", details_recalled=True,
    ),
    Paper(
        key="sinangil2021",
        authors=("Sinangil, Mahmut E.",),
        more_authors=True,
        title="A 7-nm Compute-in-Memory SRAM Macro Supporting Multi-Bit Input, Weight and Output and Achieving 351 "
        "TOPS/W and 372.4 GOPS",
        venue="IEEE J. Solid-State Circuits", volume="56", pages="188-198", year=2021,
        doi="10.1109/JSSC.2020.3031290", details_recalled=True,
    ),
    Paper(
        key="wang2022",
        authors=("Wang, Hechen",),
        more_authors=True,
        title="A 32.2 TOPS/W SRAM Compute-in-Memory Macro Employing a Linear 8-bit C-2C Ladder for Charge Domain "
        "Computation in 22nm for Edge Inference",
        venue="VLSI", proceedings="IEEE Symposium on VLSI Technology and Circuits (VLSI)", year=2022,
        doi="10.1109/VLSITechnologyandCir46769.2022.9830322", details_recalled=True,
    ),
    Paper(
        key="kim2021",
        authors=("Kim, Hyunjoon", "Yoo, Taegeun", "Kim, Tony Tae-Hyoung", "Kim, Bongjin"),
        title="Colonnade: A Reconfigurable SRAM-Based Digital Bit-Serial Compute-In-Memory Macro for Processing Neural "
        "Networks",
        venue="IEEE J. Solid-State Circuits", volume="56", pages="2221-2233", year=2021,
        doi="10.1109/JSSC.2021.3061508", details_recalled=True,
    ),
    Paper(
        key="kull2013",
        authors=("Kull, Lukas",),
        more_authors=True,
        title="A 3.1mW 8b 1.2GS/s single-channel asynchronous SAR ADC with alternate comparators for enhanced speed in "
        "32nm digital SOI CMOS",
        venue="ISSCC", proceedings="IEEE International Solid-State Circuits Conference (ISSCC)", year=2013,
        doi="10.1109/ISSCC.2013.6487818", details_recalled=True,
    ),
    Paper(
        key="sakurai1990",
        authors=("Sakurai, Takayasu", "Newton, A. Richard"),
        title="Alpha-power law MOSFET model and its applications to CMOS inverter delay and other formulas",
        venue="IEEE J. Solid-State Circuits", volume="25", pages="584-594", year=1990, doi="10.1109/4.52187",
        details_recalled=True,
    ),
    Paper(
        key="jouppi2017",
        authors=("Jouppi, Norman P.",),
        more_authors=True,
        title="In-Datacenter Performance Analysis of a Tensor Processing Unit",
        venue="ISCA", proceedings="ACM/IEEE International Symposium on Computer Architecture (ISCA)", pages="1-12",
        year=2017, doi="10.1145/3079856.3080246", details_recalled=True,
    ),
    Paper(
        key="shiflett2021",
        authors=("Shiflett, Kyle", "Karanth, Avinash", "Bunescu, Razvan", "Louri, Ahmed"),
        title="Albireo: Energy-Efficient Acceleration of Convolutional Neural Networks via Silicon Photonics",
        venue="ISCA", proceedings="ACM/IEEE International Symposium on Computer Architecture (ISCA)", pages="860-873",
        year=2021, doi="10.1109/ISCA52012.2021.00072", details_recalled=True,
    ),
    Paper(
        key="ahmed2025",
        authors=("Ahmed, Sufi R.",),
        more_authors=True,
        title="Universal photonic artificial intelligence acceleration",
        venue="Nature", volume="640", pages="368-374", year=2025, doi="10.1038/s41586-025-08854-x",
        details_recalled=True,
    ),
    Paper(
        key="hua2025",
        authors=("Hua, Shiyue",),
        more_authors=True,
        title="An integrated large-scale photonic accelerator with ultralow latency",
        venue="Nature", volume="640", pages="361-367", year=2025, doi="10.1038/s41586-025-08786-6",
        details_recalled=True,
    ),
    Paper(
        key="davies2018",
        authors=("Davies, Mike",),
        more_authors=True,
        title="Loihi: A Neuromorphic Manycore Processor with On-Chip Learning",
        venue="IEEE Micro", volume="38", pages="82-99", year=2018, doi="10.1109/MM.2018.112130359",
        details_recalled=True,
    ),
    Paper(
        key="hoppner2019",
        authors=("Höppner, Sebastian",),
        more_authors=True,
        title="Dynamic Power Management for Neuromorphic Many-Core Systems",
        year=2019, arxiv="1903.08941", details_recalled=True,
    ),
    Paper(
        key="merolla2014",
        authors=("Merolla, Paul A.",),
        more_authors=True,
        title="A million spiking-neuron integrated circuit with a scalable communication network and interface",
        venue="Science", volume="345", pages="668-673", year=2014, doi="10.1126/science.1254642",
        details_recalled=True,
    ),
    Paper(
        key="akopyan2015",
        authors=("Akopyan, Filipp",),
        more_authors=True,
        title="TrueNorth: Design and Tool Flow of a 65 mW 1 Million Neuron Programmable Neurosynaptic Chip",
        venue="IEEE Trans. Comput.-Aided Des.", volume="34", pages="1537-1557", year=2015,
        doi="10.1109/TCAD.2015.2474396", details_recalled=True,
    ),
    Paper(
        key="frady2020",
        authors=("Frady, E. Paxon",),
        more_authors=True,
        title="Neuromorphic Nearest-Neighbor Search Using Intel's Pohoiki Springs",
        year=2020, arxiv="2004.12691", details_recalled=True,
    ),
    Paper(
        key="hoppner2021",
        authors=("Höppner, Sebastian",),
        more_authors=True,
        title="The SpiNNaker 2 Processing Element Architecture for Hybrid Digital Neuromorphic Computing",
        year=2021, arxiv="2103.08392", details_recalled=True,
    ),
)  # fmt: skip

#: Every paper that the project's numbers rest on, by key.
PAPERS: dict[str, Paper] = {paper.key: paper for paper in _PAPERS + PAPERS_OF_LIGHT + PAPERS_OF_QUANTA}
