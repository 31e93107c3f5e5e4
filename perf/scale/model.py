"""A box of many cores as a network of queues, with costs that were measured on one core.

Frames come as a Poisson stream of trains (a sender's window leaves at once). Each is hashed to a core
that runs the driver and the XDP program; what is mail that must be read goes on to a worker, by host. A
core serves its queue in order, one frame at a time. Deterministic: the seed is fixed.

Not modelled: memory bandwidth, caches shared by cores, the NIC's own limits, the control process. So the
result says which part saturates first, and how far the others then are; not what a rack will show.
"""
import dataclasses
import heapq
import random

CORES = 32
SPARE = 2            # for the control process and the system
RING = 2048          # frames of a socket's receive ring
# Not measured here, where no NIC is: what driver and redirect of a 100 Gbit/s NIC take for a frame beside
# the program, and the worker's end of a zero-copy ring. Both are inputs to be replaced by a rack's.
ASSUMED = {'driver_ns': 70, 'ring_ns': 60}


@dataclasses.dataclass
class Kind:
    """Frames of one kind. share: of all octets on the wire. octets: of a frame, on average. train: frames
    that come together."""
    name: str
    share: float
    octets: float
    kernel_ns: float
    worker_ns: float     # 0: never reaches a worker
    train: int = 4


def loads(kinds, gbit):
    """Frames a second of each kind, and seconds of work a second for kernel and workers."""
    rates = [gbit * 1e9 / 8 * k.share / k.octets for k in kinds]
    kernel = sum(r * (k.kernel_ns + ASSUMED['driver_ns']) for r, k in zip(rates, kinds)) / 1e9
    worker = sum(r * (k.worker_ns + ASSUMED['ring_ns']) for r, k in zip(rates, kinds) if k.worker_ns) / 1e9
    return rates, kernel, worker


def split(kinds, gbit):
    """Cores for the kernel's part and for workers, by what each has to do."""
    _, kernel, worker = loads(kinds, gbit)
    cores = CORES - SPARE
    # Where a part has little to do it still has a core.
    of_kernel = min(cores - 1, max(1, round(cores * kernel / (kernel + worker))))
    return of_kernel, cores - of_kernel


def simulate(kinds, gbit, of_kernel, workers, milliseconds=3, seed=1):
    """What waits and what is lost in so much time. Percentiles of the delay are in microseconds."""
    draw = random.Random(seed)
    rates, _, _ = loads(kinds, gbit)
    arrivals = []
    for index, (rate, kind) in enumerate(zip(rates, kinds)):
        at, trains = 0.0, rate / kind.train
        while trains > 0 and (at := at + draw.expovariate(trains)) < milliseconds / 1000:
            flow = draw.getrandbits(32)
            # 1,500 octets take 120 ns on the line.
            arrivals += [(at + n * 1.2e-7, index, flow) for n in range(kind.train)]
    arrivals.sort()
    kernel_free = [0.0] * of_kernel
    to_workers, delays = [], {kind.name: [] for kind in kinds}
    for at, index, flow in arrivals:
        kind, core = kinds[index], flow % of_kernel
        done = max(kernel_free[core], at) + (kind.kernel_ns + ASSUMED['driver_ns']) / 1e9
        kernel_free[core] = done
        if kind.worker_ns:
            to_workers.append((done, at, index, flow))
        else:
            delays[kind.name].append(done - at)
    to_workers.sort()
    worker_free = [0.0] * workers
    waiting = [[] for _ in range(workers)]
    deepest = lost = 0
    for ready, at, index, flow in to_workers:
        kind, core = kinds[index], (flow >> 8) % workers
        queue = waiting[core]
        while queue and queue[0] <= ready:
            heapq.heappop(queue)
        if len(queue) >= RING:
            lost += 1
            continue
        done = max(worker_free[core], ready) + (kind.worker_ns + ASSUMED['ring_ns']) / 1e9
        worker_free[core] = done
        heapq.heappush(queue, done)
        deepest = max(deepest, len(queue))
        delays[kind.name].append(done - at)
    report = {}
    for name, values in delays.items():
        values.sort()
        if values:
            report[name] = {'p50': round(values[len(values) // 2] * 1e6, 2),
                            'p99': round(values[len(values) * 99 // 100] * 1e6, 2)}
    return {'frames': len(arrivals), 'delay_us': report, 'deepest_ring': deepest, 'frames_past_full_rings': lost}


def study(name, kinds, gbit=100):
    """One mix: who saturates first, at what rate, and how the box does at `gbit`."""
    of_kernel, workers = split(kinds, gbit)
    _, kernel, worker = loads(kinds, gbit)
    busy = {'kernel cores': kernel / of_kernel, 'workers': worker / workers}
    first = max(busy, key=busy.get)
    return {'mix': name, 'gbit_s': gbit, 'kernel_cores': of_kernel, 'workers': workers,
            'utilization_percent': {part: round(100 * value, 1) for part, value in busy.items()},
            'saturates_first': first, 'saturates_at_gbit_s': round(gbit / busy[first], 1),
            'shares_percent': {k.name: round(100 * k.share, 2) for k in kinds}, 'assumed': ASSUMED,
            **simulate(kinds, min(gbit, 0.95 * gbit / busy[first]), of_kernel, workers),
            'simulated_gbit_s': round(min(gbit, 0.95 * gbit / busy[first]), 1)}
