"""`math_answer`: pairs of gold and answer, equal or not, by kind. The gold stands left of the bar."""

from __future__ import annotations

import pytest

from reasoning_rl_rewards.math_answer.comparison import gold_fault, judge
from reasoning_rl_rewards.math_answer.policy import Policy

EQUAL = r"""
x=1, y=1 and x=3, y=2 | x=3, y=2 and x=1, y=1
x=1, y=1 and x=3, y=2 | (1,1),(3,2)
(x=1, y=2) and (x=2, y=1) | (1,2), (2,1)
C(10, 5), or equivalently 252 | 252
C(10, 5), or equivalently 252 | \binom{10}{5}
0 is the only possible value | 0
100 (i.e., all values) | 100
100 | 100 (i.e., all values)
The limit exists and is equal to 2/3 | \frac23
25\pi | A=\pi r^2=25\pi
x=y=0 | x=0, y=0
5/14, or approximately 35.7% | \frac{5}{14}
x \ge 3 \text{ and } y = 2 | y = 2 \text{ and } x \geq 3
\frac94 | \frac{9}{4}\,\text{cm}
25 | 25 km/h
5 | 5cm^2
16\pi | 16 \pi \text{ cm}^3
16\pi \text{ cm}^3 | 16\pi cm^3
20 | 20 m^2
5 | 5 \mathrm{~cm}
9.8 | 9.8 \text{ m/s}^2
9.8 \text{ m/s}^2 | 9.8\, \mathrm{m/s^2}
9.8 | 9.8 m/s^2
10 | 10\ \mathrm{kg\cdot m/s^2}
20 | 20°C
20 | 20^{\circ}\mathrm{C}
5 | \text{5 cm}
100 | 100 dollars
500 | \text{Rs. }500
500 | Rs 500
42\text{ inches} | 3\text{ ft } 6\text{ in}
4500 | 4.5 \times 10^3 \text{ kg}
3 | 3\text{rd}
3 | 3rd
10 | 10^{th}
10 | 10^{\text{th}}
5 | 5 points
80\text{ minutes} | 1\text{ hour } 20 \text{ minutes}
12 | 12 in.
12 | 12 \text{ in.}
8 | 8 \text{ sq. units}
8 | 8 \text{ sq. cm}
8 \text{ cm}^2 | 8 \text{ square centimeters}
8 \text{ cm}^{2} | 8 \text{ cm}^2
25 \text{ mph} | 25 \text{ miles per hour}
25 \text{ km/h} | 25 \text{ kilometers per hour}
6 | 6 \text{ people}
6 | 6 \text{ red balls}
6 | 6\text{ ways}
6 | 6 \text{ ways to choose}
3/5 | \frac{3}{5} \text{ of the cake}
10 \text{ cents} | 10¢
0.10 | \$0.10
\$0.10 | 10 \text{ cents}
4 | 4 \%
4 \% | 4\text{ percent}
10^{6} \text{ m} | 10^{3} \text{ km}
5 \text{ km} | 5000\text{ m}
5\text{ L} | 5 \text{ liters}
100 \Omega | 100\,\Omega
72^{\circ} | \angle A = 72^\circ
72 | 72 \text{ degrees}
\frac{\pi}{3} | \frac{\pi}{3} \text{ radians}
12 | 12\text{ hours}.
7 | 7 个
7 | 7元
7 | 7 \text{元}
30 | 30min
\frac{54\sqrt{6}}{25} | The\ area\ of\ triangle\ ABC\ is\ \frac{54\sqrt{6}}{25}
\frac{1}{2\sin(\frac{\pi}{26})} | \dfrac{1}{2\sin\!\bigl(\pi/26\bigr)} \quad\text{(approximately }4.14812\text{)}
12:30 \text{ p.m.} | 12:30
2:30 \text{ PM} | 14:30
2:30 | 2\text{ hours } 30 \text{ minutes}
(-\infty,2)\cup(3,\infty) | x<2 \cup x>3
(-\infty,0)\cup(0,1) | m<1, m\neq 0
(-\infty,0)\cup(0,1) | m<1 \text{ and } m\ne 0
x \in (-\infty,2)\cup(3,\infty) | x\in(-\infty,2) \text{ or } x \in (3,\infty)
x \le 2 | x \in (-\infty, 2]
(1,\infty) | a>1
-1 < a \le 3 | a \in (-1,3]
10 \text{ people} | 10 \text{ persons}
x \neq 1 | x \in \mathbb{R}, x \neq 1
[0,1] | 0 \le y \le 1
y \in [0,1] | 0 \le y \le 1
-5 | –5
\sqrt{2} | √2
\infty | ∞
x^2 | x²
90 | 90°
\frac12 | ½
3\frac12 | 3½
42 | ４２
1000 | 1 000
1000000 | 1\,000\,000
1000.99 | 1000,99
4000 | 4000千克
1000.99 | 1,000.99€
5 | \pounds 5
\frac13 | 0.\overline{3}
\frac13 | 33\frac13\%
2500 | 2.5e3
2500 | 2.5 \times 10^{3}
\frac72 | 3 1/2
\frac\pi2 | pi/2
-2\pi | -2*pi
2 | \lg 100
\emptyset | \varnothing
\emptyset | \{\}
\emptyset | ∅
12 | \text{(B) } 12
42 | C. x = 42
B | \text{(B) } 12
B | (B)
B | B.
B | \textbf{(B)}
12:30 | 12{:}30
\sqrt{x} | x^\frac12
(1,2) | \langle1,2\rangle
(1,2) | \begin{pmatrix}1\\2\end{pmatrix}
1<x<3 | 3>x>1
(-\infty,-1)\cup(2,\infty) | x<-1 or x>2
(-\infty,-1)\cup(2,\infty) | x<-1 \text{ or } x>2
A\cup B | B\cup A
a+b-a | b
-1 | i^2
5 | |3+4i|
\frac{1}{\sqrt n} | \sqrt{1/n}
2^{65536} | 2^{4^8}
\frac{\pi}{4} | 45^\circ
C_n^3 | C_n^3
O(n \log n) | O(n\log n)
12:30 \text{ p.m.} | 12:30 pm
x=5 | 5
5 | x=5
x = 5 | 5 = x
\frac{1}{2} | \frac12
\frac{1}{2} | 1/2
0.5 | \frac12
x^2+2x+1 | (x+1)^2
\{1,2,3\} | \{3,2,1\}
\{1,2,3\} | 1, 2, 3
1,2,3 | 3, 2, 1
1,2,3 | 1, 2 and 3
(1,2),(3,4) | (3,4),(1,2)
\{(1,2),(3,4)\} | (3,4),(1,2)
[0,\infty) | x \ge 0
[0,\infty) | \{x : x \ge 0\}
\{x \mid x > 3\} | (3,\infty)
\{x \in \mathbb{R} \mid x > 3\} | (3,\infty)
(-\infty,0)\cup(0,\infty) | x \neq 0
(-\infty,0)\cup(0,\infty) | \mathbb{R}\setminus\{0\}
(-\infty,\infty) | \mathbb{R}
\text{all real numbers} | \mathbb{R}
y=2x+3 | 2x+3
y=2x+3 | y-2x-3=0
2x+3y=6 | 4x+6y=12
x^2+y^2=4 | x^2+y^2-4=0
f(x)=x^2 | x^2
f(x)=x^2 | f(x) = x \cdot x
5\text{ cm} | 5
5 | 5\text{ cm}
5\text{ cm}^2 | 5\,\mathrm{cm}^2
5 | 5 \text{ cm}^2
5 \text{ m/s} | 5\,\frac{\text{m}}{\text{s}}
34\text{ hours} | 2040 \text{ minutes}
100\text{ cm} | 1\text{ m}
60^\circ | 60
60 | 60^\circ
60^\circ | 60 \text{ degrees}
\$5.50 | 5.5
5.50 | \$5.50
\$1,234.50 | 1234.5
12\text{ dollars} | \$12
28\% | 0.28
28\% | 28
28 | 28\%
0.28 | 28\%
\frac{1}{4} | 25\%
2:3 | 4:6
2:3 | \frac23
1:2:3 | 1 : 2 : 3
10_{2} | 10_2
\pm 3 | 3, -3
3, -3 | \pm 3
x=\pm 3 | x = 3 \text{ or } x = -3
1\pm\sqrt2 | 1+\sqrt2, 1-\sqrt2
\frac{-1\pm\sqrt5}{2} | \frac{-1+\sqrt5}{2},\frac{-1-\sqrt5}{2}
\begin{pmatrix}1&2\\3&4\end{pmatrix} | \begin{bmatrix}1&2\\3&4\end{bmatrix}
\begin{pmatrix}1&2\\3&4\end{pmatrix} | \left[\begin{array}{cc}1&2\\3&4\end{array}\right]
\begin{pmatrix}1\\2\end{pmatrix} | (1,2)
\begin{pmatrix}1\\2\end{pmatrix} | (1,2)^T
\log_2 8 | 3
\ln 2 | \log_e 2
\sin^2 x | 1-\cos^2 x
\tan x | \frac{\sin x}{\cos x}
\sin 2x | 2\sin x\cos x
e^{x}e^{y} | e^{x+y}
\exp(2) | e^2
\sqrt[3]{8} | 2
\sqrt[3]{2} | 2^{1/3}
\frac{\sqrt{2}}{2} | \frac{1}{\sqrt{2}}
\lfloor 3.7 \rfloor | 3
\lceil 3.2\rceil | 4
\binom{5}{2} | 10
{5 \choose 2} | 10
5! | 120
\frac{5!}{2!} | 60
10^{-7} | 0.0000001
6.02\times 10^{23} | 6.02e23
1.5\cdot10^3 | 1500
\text{Monday} | monday
\text{Yes} | yes
\text{True} | \text{true}
\text{even} | Even
\text{no solution} | no solution
\text{a parabola} | parabola
x \equiv 3 \pmod{7} | x\equiv 10 \pmod 7
3 \pmod 7 | 3 \pmod{7}
\sum_{k=1}^{n} k | \frac{n(n+1)}{2}
\int_0^1 x^2 dx | \frac13
\lim_{x\to0}\frac{\sin x}{x} | 1
2 \text{ hours } 30 \text{ minutes} | 150 \text{ minutes}
7 | 7.
7 | \mathbf{7}
7 | \text{7}
7 | \text{The answer is }7
7 | \text{The answer is 7}
7 | The answer is 7
7 | \$7\$
7 | $7$
7 | \(7\)
7 | 7 \text{ (seven)}
\frac{\sqrt{3}}{2} | \frac{\sqrt{3}}{2}\approx 0.866
\frac{\sqrt{3}}{2} | \frac{\sqrt{3}}{2} \approx 0.866025
0.866 | \frac{\sqrt3}2 \approx 0.866
5 | five
\text{five} | 5
n^2+n | n(n+1)
2^n | 2^{n}
(2,\infty) | (2,+\infty)
]0,1[ | (0,1)
[0,1) | [0,1[
x>2, y<3 | y<3, x>2
a_n=2n+1 | 2n+1
a_{n}=2n+1 | a_n = 1+2n
S=\{1,2\} | \{1,2\}
\frac{x}{y} | x/y
\frac{a+b}{c} | (a+b)/c
sqrt(2)/2 | \frac{\sqrt2}{2}
\frac{\sqrt2}{2} | sqrt(2)/2
x^{2} | x**2
2\pi | 2π
3\sqrt{2} | 3 \cdot \sqrt{2}
12 | \frac{24}{2}
12 | 12.00
-\frac{1}{2} | \frac{-1}{2}
-\frac{1}{2} | -0.5
-\frac{1}{2} | \frac{1}{-2}
0.333\ldots | \frac13
0.\dot{3} | \frac13
0.1\overline{6} | \frac16
\text{(A)} | A
\text{A and C} | A, C
A, C | C, A
\angle ABC | ∠ABC
\triangle ABC | \triangle ABC
\overline{AB} | \overline{AB}
\mathrm{cm} | cm
10 \text{ apples} | 10 apples
10 | 10 apples
k\pi, k\in\mathbb{Z} | k\pi, k \in \mathbb{Z}
x = k\pi, k \in \mathbb{Z} | x=k\pi \quad (k \in \mathbb{Z})
\frac{\pi}{2}+2k\pi | 2k\pi+\frac{\pi}{2}
0 \le x < 5 | [0,5)
x \in [0,5) | 0 \leq x < 5
(3,4] | 3 < x \le 4
\frac{dy}{dx} | \frac{dy}{dx}
y = Ce^{x} | y = C e^x
\vec{a}+\vec{b} | \vec b + \vec a
\max(2,3) | 3
12\text{ cm}\times 3\text{ cm} | 12\text{ cm} \times 3\text{ cm}
2 \times 3 | 2 \times 3
8:30 \text{ a.m.} | 8:30 am
\{2, 4, 6, \ldots\} | \{2,4,6,\dots\}
1, 1, 2, 3 | 1, 1, 2, 3
\mathbb{N} | \mathbb{N}
x^2 - 1 = 0 | x^2 = 1
\frac{9}{4} \text{ cm} | 2.25
70 \% | 70\%
1\frac{1}{2} | \frac{3}{2}
1 \frac{1}{2} | 1.5
1,234,567 | 1234567
2{,}000 | 2000
2.000.000 | 2000000
\sqrt{-1} | i
(x,y)=(1,2) | (1,2)
x=1,y=2 | (1,2)
x=1, y=2 | (x,y)=(1,2)
x=1 \text{ and } y=2 | x=1, y=2
\left\{\begin{array}{l}x=1\\y=2\end{array}\right. | x=1, y=2
3+4i | 4i+3
2e^{i\pi/3} | 1+i\sqrt3
\sqrt{2}i | i\sqrt{2}
x+1,\ x>0 | x+1, x>0
3x^2 \, dx | 3x^2 dx
2+\frac{1}{x} | \frac{2x+1}{x}
7.0 \times 10^{2} | 700
|x| | \sqrt{x^2}
-x < 3 | x > -3
5 > x | x < 5
x\ge-3 | [-3,\infty)
\text{36 square units} | 36
36 | 36 \text{ square units}
36\text{ units}^2 | 36
15 | 15\text{ minutes}
\frac{4}{3}\pi r^3 | \frac{4\pi r^3}{3}
\log_{10} 100 | 2
\cosh x | \frac{e^x+e^{-x}}{2}
\arctan(1) | \frac{\pi}{4}
\tan^{-1}(1) | \frac{\pi}{4}
\sin 30^\circ | \frac12
\cos(60^{\circ}) | 0.5
n! | n(n-1)!
\gcd(12,18) | 6
5000000 | 5 million
5 \text{ million dollars} | \$5,000,000
\$5 \text{ million} | \$5{,}000{,}000
24 | 2 \text{ dozen}
(1011)_2 | 1011_2
1011_{(2)} | 1011_2
1011_{\text{two}} | 1011_2
1100_{\text{base } 2} | 1100_2
x < y | y > x
x < y, y < z | x < y \text{ and } y < z
|AB| = 5 | AB = 5
-\infty < x < 3 | (-\infty, 3)
a<b<c | c>b>a
|z| \le 2 | [-2,2]
(-\infty,-3)\cup(3,\infty) | |x|>3
1 \le |x| < 2 | (-2,-1]\cup[1,2)
x \geq 2 \text{ or } x \leq -2 | |x| \ge 2
2:3 | 2 to 3
1:2 | 1 \text{ to } 2
\binom{5}{2} | {}_5C_2
\binom{5}{2} | {}^5\mathrm{C}_2
20 | {}_5P_2
-\infty | \text{negative infinity}
\infty | infinity
0.75 | three quarters
\frac13 | \text{one third}
21 | twenty-one
100 | one hundred
3.14 | \approx 3.14
12.3 | 12,3\text{ cm}
1234567.89 | 1.234.567,89
1234.5 | 1.234,5
5 | \text{Answer: } 5
\log 100 | 2
\ln 5 | \log 5
\log_{10} 5 | \log 5
\neg p | \lnot p
17 \bmod 5 | 2
x_1 | x1
x_1=2,x_2=3 | x1=2, x2=3
x_1=2,x_2=-3 | x=-3 \text{ or } x=2
f(n)=n | f(n)=n \text{ for all } n
f(x)=cx | f(x) = cx \text{ for some constant } c
f(x)=x+1 | f(x)=x+1 \text{ for all } x \in \mathbb{R}
y=Ce^{2x} | y = Ce^{2x}, \text{ where } C \text{ is an arbitrary constant}
\binom{2n}{n} | \frac{(2n)!}{(n!)^2}
\sqrt{ab} | \sqrt a\sqrt b
\ln(ab) | \ln a + \ln b
2^{\gcd(m,n)}-1 | 2^{\gcd(n,m)}-1
\lceil\frac{n+1}{2}\rceil | \lfloor\frac n2\rfloor+1
\lceil x\rceil | -\lfloor -x\rfloor
\begin{pmatrix}2&4\\6&8\end{pmatrix} | 2\begin{pmatrix}1&2\\3&4\end{pmatrix}
\begin{pmatrix}\frac15\\\frac25\end{pmatrix} | \frac15\begin{bmatrix}1\\2\end{bmatrix}
\begin{pmatrix}6&8\\10&12\end{pmatrix} | \begin{pmatrix}1&2\\3&4\end{pmatrix}+\begin{pmatrix}5&6\\7&8\end{pmatrix}
\begin{pmatrix}1+2t\\3-t\end{pmatrix} | \begin{pmatrix}1\\3\end{pmatrix} + t\begin{pmatrix}2\\-1\end{pmatrix}
\begin{pmatrix}0&0\\0&0\end{pmatrix} | \mathbf{0}
(\pm 1, 0) | (1,0), (-1,0)
(\pm 1, 0), (0, \pm 1) | (1,0),(-1,0),(0,1),(0,-1)
(2,3),(3,2) | (x,y)=(2,3) \text{ or } (3,2)
ABD | A, B, D
AC | \text{(A) and (C)}
A | \boldsymbol{A}
C | \text{The answer is C}
D | \text{The correct option is (D)}
2 | 2 \pmod 5
3 \pmod 5 | x \equiv 3 \pmod 5
\mathbb{R}^+ | x > 0
(0,\infty) | \mathbb{R}_{>0}
(0,\infty) | \text{all positive real numbers}
[0,\infty) | \text{all non-negative real numbers}
(-\infty,\infty) | \text{all real numbers}
(-\infty,1)\cup(1,\infty) | \text{all real numbers except } 1
(-\infty,1)\cup(1,\infty) | \mathbb{R}-\{1\}
\text{Bob and Alice} | \text{Alice and Bob}
\text{Tuesday} | \text{It is Tuesday}
5\text{ p.m.} | 5:00 \text{ p.m.}
11 | 11\text{ a.m.}
6\text{ m/s} | 6\,\mathrm{m\,s^{-1}}
9.8\text{ m/s}^2 | 9.8\ \mathrm{m\cdot s^{-2}}
6\text{ m/s} | 6\frac{m}{s}
75 | \text{\$}75
15 | 15\text{ more}
120^\circ | \frac{2\pi}{3}\text{ rad}
3 | \text{John has } 3 \text{ apples}
17 | 17\
5 | \boxed{5}
7 | **7**
7 | `7`
7 | \textcolor{red}{7}
7 | 7 \checkmark
4 | \therefore 4
x=4 | \Rightarrow x=4
\frac ab | \frac{a}{b} \quad (b \neq 0)
3 | x = 3 \text{ is the only solution}
(3,-1) | C(3,-1)
\sqrt5 | \sqrt5\text{ cm} \approx 2.236\text{ cm}
55 | \sum_{k=1}^{10} k = 55
\frac13 | \int_0^1 x^2\,dx = \frac13
\pi | 𝜋
-3, 1 | -3或1
n2^{n-1} | n \cdot 2^{n-1}
\frac{a}{2} | \frac a2
x=\frac\pi6+\pi k, k\in Z | x=\frac\pi6+k\pi
n \ge 3 | \text{all } n \ge 3
"""

DIFFERENT = r"""
x=1, y=1 and x=3, y=2 | x=1, y=2 and x=3, y=1
x=1, y=1, x=3, y=2 | x=1, y=2, x=3, y=1
7 | 6, or equivalently 7
6 | 6, or equivalently 7
2 | \text{the square root of } 2
x(n)<y(n-1) \text{ for all } n\ge 3 | x(n)<y(n-1)
x=1,y=2 | x=2,y=1
x=1 | y=1
7 | 7x
7 | 6=7
x=7 | x=6=7
7 | 1=2=7
(1,2) | [1,2]
[0,1) | (0,1)
1011_2 | 1011_3
1011_2 | 1011
2000000 | 1.000.000
2.000.000 | 1.000.000
listen | silent
12 | 1 2
12 | 1,2
3.5 | 3,4
3 | 3.1
(1,3) | \{1,3\}
6.63\times10^{-34} | 6.63\times10^{-33}
12\text{ cm} | 12\text{ cm}^2
12\text{ cm} | 12\text{ m}
12:30\text{ a.m.} | 12:30 \text{ p.m.}
1:2:3 | 1:3:2
\gamma+1 | 1
2.5e3 | 2.5
x>5 | x<5
x>5 | y>5
x+yz | (x+y)z
0.\overline3 | 0.3
7 | \text{not }7
7 | 7 \text{ is wrong}
7 | \text{wrong}=7
7 | 6 \text{ or } 7
7 | 7 \text{ or } 6
5 | A
x+1 | A
\frac12 | \frac{1}{3}
\ln 5 | \ln 2 + \ln 3
2^{n+1} | 2^n+1
x=2,x=3 | x^2-5x+6=0
x=2 | 2x=4
A | B
A | A or B
A | A, B
\text{Monday} | \text{Tuesday}
\text{yes} | \text{no}
17 | 17.001
0.28 | 28
28 | 0.28
\frac{28}{100} | 28
3+4i | 3-4i
\sqrt{67},-\sqrt{85} | \sqrt{67}
1,2 | 1,2,3
\pm3 | 3
3 | \pm 3
2 | 3 1/2
10 | 1\%
7 | \neq 7
7 | >7
7 | x>7
x>7 | 7
x=7 | x>7
AB | BA
\angle ABC | \angle BAC
12\text{ apples} | 13\text{ apples}
\$5 | \$6
5\% | 0.5
60^\circ | 61
e^{\pi\sqrt{163}} | 262537412640768744
0 | 10^{-60}
0 | e^{-200}
3-2\sqrt2 | 0.1716
0.1716 | 0.172
\begin{pmatrix}1&2\\3&4\end{pmatrix} | \begin{pmatrix}1&3\\2&4\end{pmatrix}
(1,2,3) | (3,2,1)
3 \pmod 7 | 4 \pmod 7
x \equiv 3 \pmod 7 | x \equiv 3 \pmod 8
n | n+1
x_1 | x_2
x^2 | x^3
a_{10} | a_{11}
7 | 10^{10^8} \bmod 7
7 | 6 \Rightarrow 7
5 | \cancel{6} 5
7 | \frac{7}{0}
\infty | -\infty
5 \text{ million} | 5 \text{ thousand}
\$5 \text{ million} | \$5 \text{ thousand}
\$5 \text{ million} | \$5
5 \text{ million people} | 5 \text{ thousand people}
2 \text{ dozen} | 2 \text{ hundred}
12 | 13m
12 | 12m+1
12\text{ g} | 12m
|x|<2 | |x|<3
|x|<2 | |x|>2
|x|<2 | (0,2)
|x|<2 | x<2
|x| = 2 | x = 2
f(x) = x^2 | g(x) = x^2
\sin x = \frac12 | x = \frac12
a<b | b<a
x<y | x<z
2:3 | 3 to 2
2 | 2 to 3
\frac13 | two thirds
3 | third
\infty | \text{negative infinity}
20 | \text{twenty one}
1011_2 | 1011_{\text{three}}
1.2345 | 1.234,5
\binom{5}{2} | {}_6C_2
7 | \text{not: } 7
7 | \approx 7.1
\ln 5 | \log_{10} 5
x | x1
x1 | x2
x_1=2,x_2=3 | x_1=3,x_2=2
x_1=2,x_2=3 | x=2
f(x)=x | f(x)=x \text{ or } f(x)=0
f(x)=0 | f(x)=0 \text{ for all } x \ne 1
\sqrt{x^2} | x
\sqrt{ab} | \sqrt a+\sqrt b
\gcd(m,n) | mn
\lceil n/2\rceil | \lfloor n/2\rfloor
\lceil x/2\rceil | \lfloor x/2\rfloor+1
\begin{pmatrix}1\\2\end{pmatrix} | -\begin{pmatrix}1\\2\end{pmatrix}
\begin{pmatrix}-1\\0\end{pmatrix} | \begin{pmatrix}1\\2\end{pmatrix}\begin{pmatrix}1\\1\end{pmatrix}
\begin{pmatrix}0&1\\0&0\end{pmatrix} | 0
(\pm 1, 0) | (1,0)
ABC | ACB
AC | A, B, C
C | \text{The answer is not C}
2 | 7 \pmod 5
2 \pmod 5 | 2 \pmod 7
2 | x \equiv 2 \pmod 5
\mathbb{R}^+ | [0,\infty)
[0,\infty) | \text{all positive real numbers}
\text{Alice and Bob} | \text{Alice and Carol}
\text{Tuesday} | \text{It is not Tuesday}
\text{Tuesday} | \text{It is Tuesday or Friday}
5\text{ p.m.} | 5\text{ a.m.}
5\text{ p.m.} | 5:30\text{ p.m.}
\$15 | 15\%
6\text{ m/s} | 6\,\mathrm{m\,s}
3 | \text{at least } 3
3 | \text{more than } 3
3 | \text{John has more than } 3
x<1 | x<1 \quad (x \neq 0)
7 | \sqrt5\text{ cm} = 7
7 | \frac61x = 7
7 | \lim_{x\to0} x = 7
7 | \sum_{k=1}^{7} 2 = 7
7 | \pm\pm 7
7 | 6 \checkmark 7
7 | \boxed{6} 7
(1,2) | B(2,1)
"""


def pairs(block: str) -> list[tuple[str, str]]:
    found = [tuple(line.split(" | ", 1)) for line in block.strip().splitlines()]
    assert len(found) > 50
    return [(gold, answer) for gold, answer in found]


@pytest.mark.parametrize(("gold", "answer"), pairs(EQUAL))
def test_equal(gold: str, answer: str) -> None:
    assert gold_fault(gold) is None
    assert judge(gold, answer).is_right


@pytest.mark.parametrize(("gold", "answer"), pairs(DIFFERENT))
def test_different(gold: str, answer: str) -> None:
    assert not judge(gold, answer).is_right


#: A letter of a unit without a blank is read in answers only: in a gold it may be a variable.
UNIT_LETTERS = [
    ("12", "12m"),
    ("1.5", "1.5m²"),
    (r"12\text{ m}^2", "12m^2"),
    ("300", "300K"),
    ("1000.99", "1,000.99m²"),
]


@pytest.mark.parametrize(("gold", "answer"), UNIT_LETTERS)
def test_unit_letters(gold: str, answer: str) -> None:
    assert judge(gold, answer).is_right
    assert not judge(gold, answer.replace("m", "x").replace("K", "x")).is_right
    assert not judge(answer, gold).is_right or "text" in gold


#: Golds of which more is accepted than the reverse: a letter for an option, a closed form for a sum, a rounded decimal,
#: a number without its modulus; and what is read in answers only: sentences, fractions of units, a sum with its value.
ONE_WAY = (
    r"\text{(B) } 12", r"\frac{n(n+1)}{2}", r"\int_0^1 x^2 dx", r"\lim_{x\to0}\frac{\sin x}{x}", r"3-2\sqrt2",
    r"x \equiv 2 \pmod 5", r"\text{The answer is C}", r"\text{The correct option is (D)}", r"\text{It is Tuesday}",
    r"6\frac{m}{s}", r"\sum_{k=1}^{10} k = 55", r"\int_0^1 x^2\,dx = \frac13",
)  # fmt: skip


def is_one_way(gold: str, answer: str) -> bool:
    return gold in ONE_WAY or answer in ONE_WAY


@pytest.mark.parametrize(("gold", "answer"), [pair for pair in pairs(EQUAL) if not is_one_way(*pair)])
def test_equal_the_other_way_round(gold: str, answer: str) -> None:
    assert judge(answer, gold).is_right


@pytest.mark.parametrize(("gold", "answer"), [pair for pair in pairs(DIFFERENT) if not is_one_way(*pair)])
def test_different_the_other_way_round(gold: str, answer: str) -> None:
    assert not judge(answer, gold).is_right


@pytest.mark.parametrize(
    ("policy", "gold", "answer", "is_right"),
    [
        (Policy(units="required"), r"5\text{ cm}", "5", False),
        (Policy(units="required"), r"5\text{ cm}", r"5\text{ cm}", True),
        (Policy(units="ignored"), r"5\text{ cm}", r"5\text{ m}", True),
        (Policy(percent="strict"), r"28\%", "28", False),
        (Policy(percent="strict"), r"28\%", "0.28", True),
        (Policy(lists="in_order"), "1, 2", "2, 1", False),
        (Policy(lists="in_order"), "1, 2", "1, 2", True),
        (Policy(lists="in_order"), r"\{1, 2\}", r"\{2, 1\}", True),
        (Policy(decimals="exact"), "0.3333", r"\frac13", False),
        (Policy(), "0.3333", r"\frac13", True),
        (Policy(), "0.333", r"\frac13", False),
        (Policy(), "3.1416", r"\pi", True),
        (Policy(), r"\pi", "3.1416", False),
        (Policy(), "3.1416", "3.14", False),
        (Policy(arithmetic="refused"), "5", "2+3", False),
        (Policy(arithmetic="refused"), "5", r"\frac{10}{2}", True),
        (Policy(arithmetic="refused"), "3.5", r"3\frac12", True),
        (Policy(arithmetic="refused"), "1200", r"1.2 \times 10^3", True),
        (Policy(arithmetic="refused"), "5", r"x = 2+3", False),
        (Policy(arithmetic="allowed"), "5", "2+3", True),
    ],
)
def test_policies(policy: Policy, gold: str, answer: str, is_right: bool) -> None:
    assert judge(gold, answer, policy).is_right is is_right


@pytest.mark.parametrize(
    ("gold", "answer", "path"),
    [
        ("42", "42", "exact"),
        ("42", "42.0", "numeric"),
        ("42", r"\frac{84}{2}", "numeric"),
        ("x+1", "1+x", "symbolic"),
        (r"\sum_{k=1}^{n} k", r"\frac{n(n+1)}{2}", "symbolic"),
        ("5050", r"\sum_{k=1}^{100} k", "veto:unevaluated"),
        ("7", "6=7", "veto:refused"),
        ("7", "9^{9^{9^9}}", "veto:cost"),
        ("7", "1\u202e2", "veto:characters"),
        ("7", "[7", "veto:unreadable"),
    ],
)
def test_paths(gold: str, answer: str, path: str) -> None:
    assert judge(gold, answer).path == path


@pytest.mark.parametrize("gold", ["", "  ", "$$", ")", "^", r"\frac{1}{", r"\foo{7}", "6=7", "x=6=7"])
def test_unusable_golds(gold: str) -> None:
    assert gold_fault(gold)


@pytest.mark.parametrize(
    "gold", [r"\sum_{k=1}^n k^3", "9^{9^{9}}", r"12\text{ cm} \times 3\text{ cm}", "A", "no solution"]
)
def test_usable_golds(gold: str) -> None:
    assert gold_fault(gold) is None
