//go:build !portable

#include "textflag.h"

// The code between stage and codeEnd is copied into the sealed ELF, so it is
// one stretch without references to anything outside it, and it needs no
// stack but in reap and supervise. arena.go draws what it reads.
//
// Registers: R19 the operation, R20 the arena's header.

#define SYS_write		64
#define SYS_exit_group		94
#define SYS_waitid		95
#define SYS_kill		129
#define SYS_rt_sigtimedwait	137
#define SYS_getpid		172
#define SYS_munmap		215
#define SYS_wait4		260
#define SYS_pidfd_send_signal	424
#define SYS_clone3		435
#define SYS_close_range		436

#define EAGAIN		11
#define ESRCH		3
#define maxErrno	4095

// stage is the ELF's entry: argc 2 supervises, any other runs the program.
TEXT ·stage(SB),NOSPLIT|NOFRAME,$0-0
	MOVD	0(RSP), R0
	CMP	$2, R0
	BNE	2(PC)
	B	·supervise(SB)
	MOVZ	$(0x1001<<16), R20	// arenaBase
	MOVK	$0x1000, R20
	ADD	$64, R20, R19
	B	·interpret(SB)

// interpret carries out operations; it does not return.
TEXT ·interpret(SB),NOSPLIT|NOFRAME,$0-0
next:
	MOVD	56(R19), R21
	MOVD	8(R19), R23
	TBZ	$0, R21, 2(PC)
	MOVD	(R23), R23
	MOVD	16(R19), R1
	TBZ	$1, R21, 2(PC)
	MOVD	(R1), R1
	MOVD	24(R19), R2
	TBZ	$2, R21, 2(PC)
	MOVD	(R2), R2
	MOVD	32(R19), R3
	TBZ	$3, R21, 2(PC)
	MOVD	(R3), R3
	MOVD	40(R19), R4
	TBZ	$4, R21, 2(PC)
	MOVD	(R4), R4
	MOVD	48(R19), R5
	TBZ	$5, R21, 2(PC)
	MOVD	(R5), R5
again:
	MOVD	R23, R0
	MOVD	0(R19), R8
	CMN	$2, R8
	BEQ	compare
	CMN	$3, R8
	BEQ	becomeInit
	SVC
	CMN	$maxErrno, R0
	BCC	ok
	CMN	$EAGAIN, R0
	BNE	failed
	MOVD	88(R19), R9
	CBZ	R9, failed
	SUB	$1, R9
	MOVD	R9, 88(R19)
	B	again
ok:
	MOVD	80(R19), R9
	CBZ	R9, advance
	MOVD	R0, (R9)
advance:
	ADD	$96, R19
	B	next

compare:
	AND	R1, R0
	CMP	R2, R0
	BEQ	advance
	MOVD	R3, R0
	B	tolerated
failed:
	NEG	R0, R0
tolerated:
	MOVD	64(R19), R9
	CMN	$1, R9
	BEQ	skip
	CMP	$64, R0
	BHS	fatal
	LSR	R0, R9
	TBZ	$0, R9, fatal
skip:
	MOVD	72(R19), R22
	TBZ	$63, R21, jump
	MOVD	R19, 8(R20)
	MOVD	R0, 16(R20)
	MOVD	$SYS_write, R8
	MOVD	0(R20), R0
	ADD	$8, R20, R1
	MOVD	$16, R2
	SVC
jump:
	ADD	R22, R19
	B	advance

fatal:
	MOVD	R19, 8(R20)
	MOVD	R0, 16(R20)
	MOVD	$SYS_write, R8
	MOVD	0(R20), R0
	ADD	$8, R20, R1
	MOVD	$16, R2
	SVC
exit:
	MOVD	$125, R0
	MOVD	$SYS_exit_group, R8
	SVC
	B	exit

becomeInit:
	B	·reap(SB)

// reap is the init of a PID namespace: R0 the command, R1 the arena's end.
// All signals are blocked. The arena's memory is given back first: what
// stays is this page and the stack's.
TEXT ·reap(SB),NOSPLIT|NOFRAME,$0-0
	MOVD	R0, R21
	MOVD	R20, R0
	SUB	R20, R1
	MOVD	$SYS_munmap, R8
	SVC
	SUB	$256, RSP
collect:
	MOVD	$SYS_wait4, R8		// wait4(-1, &status, WNOHANG, NULL)
	MOVD	$-1, R0
	ADD	$8, RSP, R1
	MOVD	$1, R2
	MOVD	ZR, R3
	SVC
	CMP	R21, R0
	BEQ	ended
	CMP	$0, R0
	BGT	collect
	MOVD	$-1, R9
	MOVD	R9, 0(RSP)
	MOVD	$SYS_rt_sigtimedwait, R8	// rt_sigtimedwait(all, &info, NULL, 8)
	MOVD	RSP, R0
	ADD	$16, RSP, R1
	MOVD	ZR, R2
	MOVD	$8, R3
	SVC
	CMP	$0, R0
	BLE	collect
	CMP	$17, R0			// SIGCHLD
	BEQ	collect
	MOVD	R0, R22
	MOVD	R21, R0
	MOVW	24(RSP), R9		// si_code SI_QUEUE with value 1: to the group
	CMNW	$1, R9
	BNE	stops
	MOVW	40(RSP), R9
	CMPW	$1, R9
	BNE	stops
	NEG	R0, R0
stops:
	CMP	$18, R22		// SIGCONT and the stop signals: to the group
	BLT	send
	CMP	$22, R22
	BGT	send
	NEG	R21, R0
	CMP	$18, R22
	BEQ	send
	MOVD	$19, R22		// its group is orphaned: only SIGSTOP works
send:
	MOVD	R22, R1
	MOVD	$SYS_kill, R8
	SVC
	CMN	$ESRCH, R0		// no group of its own yet
	BNE	collect
	MOVD	R21, R0
	MOVD	R22, R1
	MOVD	$SYS_kill, R8
	SVC
	B	collect
ended:
	MOVWU	8(RSP), R0
	AND	$0x7f, R0, R1
	CBZ	R1, exited
	ADD	$128, R1, R21
	B	exit
exited:
	LSR	$8, R0
	AND	$0xff, R0, R21
exit:
	MOVD	R21, R0
	MOVD	$SYS_exit_group, R8
	SVC
	B	exit

// supervise stands in for bryo while the container runs. The environment's
// only string is "pidfd=" and the pidfd of its init, which is our child. All
// signals are blocked. It closes every other descriptor, forwards signals,
// stops when it is told to, and exits with the init's status.
TEXT ·supervise(SB),NOSPLIT|NOFRAME,$0-0
	MOVD	32(RSP), R9		// envp[0], behind argc and three words of argv
	MOVD	ZR, R20
	MOVD	$10, R11
digit:
	MOVBU	6(R9), R10
	SUBS	$48, R10, R10
	BLT	number
	MADD	R11, R10, R20, R20
	ADD	$1, R9
	B	digit
number:
	MOVD	$SYS_close_range, R8	// close_range(0, pidfd-1, 0)
	MOVD	ZR, R0
	SUB	$1, R20, R1
	MOVD	ZR, R2
	SVC
	MOVD	$SYS_close_range, R8	// close_range(pidfd+1, ~0, 0)
	ADD	$1, R20, R0
	MOVD	$-1, R1
	MOVD	ZR, R2
	SVC
	SUB	$256, RSP
look:
	MOVD	ZR, 32(RSP)		// si_pid stays 0 while it runs
	MOVD	$SYS_waitid, R8		// waitid(P_PIDFD, pidfd, &info, WEXITED|WNOHANG, NULL)
	MOVD	$3, R0
	MOVD	R20, R1
	ADD	$16, RSP, R2
	MOVD	$5, R3
	MOVD	ZR, R4
	SVC
	CMP	$0, R0
	BLT	lost
	MOVW	32(RSP), R9
	CBNZW	R9, over
	MOVD	$-1, R9
	MOVD	R9, 0(RSP)
	MOVD	$SYS_rt_sigtimedwait, R8
	MOVD	RSP, R0
	ADD	$16, RSP, R1
	MOVD	ZR, R2
	MOVD	$8, R3
	SVC
	CMP	$0, R0
	BLE	look
	CMP	$17, R0
	BEQ	look
	MOVW	24(RSP), R9		// si_code
	CMNW	$6, R9			// SI_TKILL: left over from the Go runtime
	BEQ	look
	MOVD	R0, R21
	CMNW	$1, R9			// SI_QUEUE: from before, see Hold
	BEQ	forward
	CMPW	$0x80, R9		// SI_KERNEL: from the terminal
	CSET	EQ, R10
	MOVD	$-1, R9
	MOVW	R9, 24(RSP)		// si_code = SI_QUEUE
	MOVD	R10, 40(RSP)		// si_value
forward:
	MOVD	$SYS_pidfd_send_signal, R8
	MOVD	R20, R0
	MOVD	R21, R1
	ADD	$16, RSP, R2
	MOVD	ZR, R3
	SVC
	CMP	$20, R21
	BLT	look
	CMP	$22, R21
	BGT	look
	MOVD	$SYS_getpid, R8
	SVC
	MOVD	$19, R1
	MOVD	$SYS_kill, R8
	SVC
	B	look
over:
	MOVWU	40(RSP), R21		// si_status
	MOVW	24(RSP), R9
	CMPW	$1, R9			// CLD_EXITED
	BEQ	exit
	ADD	$128, R21
	B	exit
lost:
	MOVD	$125, R21
exit:
	MOVD	R21, R0
	MOVD	$SYS_exit_group, R8
	SVC
	B	exit

TEXT ·codeEnd(SB),NOSPLIT|NOFRAME,$0-0
	RET

// func code() (start, end uintptr)
TEXT ·code(SB),NOSPLIT|NOFRAME,$0-16
	MOVD	$·stage(SB), R0
	MOVD	R0, start+0(FP)
	MOVD	$·codeEnd(SB), R0
	MOVD	R0, end+8(FP)
	RET

// func enter(arena uintptr)
TEXT ·enter(SB),NOSPLIT|NOFRAME,$0-8
	MOVD	arena+0(FP), R20
	ADD	$64, R20, R19
	B	·interpret(SB)

// func clone(args, size, arena uintptr) (pid, errno uintptr)
//
// The child shares memory and stack pointer; it leaves for the interpreter
// without touching the stack.
TEXT ·clone(SB),NOSPLIT|NOFRAME,$0-40
	MOVD	args+0(FP), R0
	MOVD	size+8(FP), R1
	MOVD	arena+16(FP), R20
	ADD	$64, R20, R19
	MOVD	$SYS_clone3, R8
	SVC
	CBZ	R0, child
	CMN	$maxErrno, R0
	BCC	made
	NEG	R0, R0
	MOVD	$-1, R1
	MOVD	R1, pid+24(FP)
	MOVD	R0, errno+32(FP)
	RET
made:
	MOVD	R0, pid+24(FP)
	MOVD	ZR, errno+32(FP)
	RET
child:
	B	·interpret(SB)
