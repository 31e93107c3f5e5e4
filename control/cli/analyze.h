// `sluicectl analyze`: the wire's own inspection and policy code on a capture file or on one
// message, without root, network or the processes. The command line is that of interfaces.md.
#pragma once

namespace sluice::control {

// argv[0] is "analyze". Exit status: 0 done, 2 wrong usage or unreadable input, 3 the capture is
// cut short (what stands before the cut was analysed).
int analyze_main(int argc, char** argv);

}  // namespace sluice::control
